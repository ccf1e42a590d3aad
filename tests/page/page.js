// page.js - what a person sees and does.  All text goes in by textContent: none of it is HTML.
'use strict';
const $ = id => document.getElementById(id);
const MODEL = 'model.safetensors', BANK = 'memory.safetensors', PAGE = 50;
const texts = new Map(); // id -> text of a document: for the reader's eyes, the bank has none
let held = [], shown = PAGE;

function make(tag, text, ...inside) {
    const element = document.createElement(tag);
    element.textContent = text;
    element.append(...inside);
    return element;
}

function tell(where, sentence, wrong = false) {
    $(where).textContent = sentence;
    $(where).classList.toggle('wrong', wrong);
}

// ---- the worker: a request is answered by its number
const waiting = new Map();
let worker, requests = 0;

function startWorker() {
    worker = new Worker(URL.createObjectURL(new Blob([$('worker').textContent])));
    worker.onmessage = ({data}) => {
        if (data.say) return $('state').textContent = data.say.trim().split('\n').pop();
        const {done, failed} = waiting.get(data.id);
        waiting.delete(data.id);
        if (data.error) failed(new Error(`The program broke off (${data.error}).`));
        else done(data.result);
    };
}

function request(task, more) {
    return new Promise((done, failed) => {
        waiting.set(++requests, {done, failed});
        worker.postMessage({id: requests, task, ...more});
    });
}

// Runs a command; its own sentence is the error's.
async function run(...args) {
    const done = await request('run', {args});
    if (done.code) throw new Error(done.err.trim().split('\n').pop().replace(/^run: /, ''));
    return done;
}

const lines = text => text.split('\n').filter(Boolean).map(line => JSON.parse(line));
const files = bank => ['--model', MODEL, '--bank', bank];

// Does what a button asks for, with all buttons off meanwhile; what fails is told at `where`.
async function act(where, work) {
    const buttons = document.querySelectorAll('button.main, #save, #load');
    buttons.forEach(button => { button.disabled = true; });
    tell(where, '...');
    try {
        tell(where, await work() ?? '');
    } catch (error) {
        tell(where, error.message, true);
    }
    buttons.forEach(button => { button.disabled = false; });
}

// ---- the memory
async function readMemory() {
    held = lines((await run('list', '--bank', BANK, '--json')).out).reverse();
    showMemory();
}

function entry({id, title}) {
    const text = texts.get(id) ?? 'A bank keeps vectors; the text is not in it.';
    const forget = make('button', 'forget');
    forget.setAttribute('aria-label', 'forget ' + title);
    forget.onclick = () => act('memory-said', async () => {
        await run('forget', '--bank', BANK, '--', id);
        await readMemory();
        $('held').focus();
        return `Forgotten: ${title}. The memory is as if it had never been learned.`;
    });
    return make('li', '', make('details', '', make('summary', title), make('p', text)), forget);
}

function showMemory() {
    const part = $('filter').value.toLowerCase();
    const some = held.filter(e => e.title.toLowerCase().includes(part));
    $('list').replaceChildren(...some.slice(0, shown).map(entry));
    $('held').textContent = `${held.length} documents` + (part ? `, ${some.length} of them here` : '');
    $('more').hidden = some.length <= shown;
    $('more').textContent = `Show ${Math.min(PAGE, some.length - shown)} more`;
}

async function learn(text) {
    if (!text.trim()) throw new Error('Type a document first.');
    const title = text.trim().split(/\s+/).join(' ');
    const cut = title.length > 60 ? [...title.slice(0, 60)].slice(0, -1).join('') + '...' : title;
    const line = new TextEncoder().encode(JSON.stringify({title: cut, text}));
    await request('put', {name: 'typed.jsonl', bytes: line});
    const done = await run('learn', ...files(BANK), '--json', 'typed.jsonl');
    await readMemory();
    if (!lines(done.out)[0].new) return 'The memory holds this text already.';
    texts.set(held[0].id, text);
    showMemory();
    return `Learned in ${done.seconds.toFixed(2)} s, by reading it once. ${done.err}`;
}

async function load(file) {
    const name = file.name.endsWith('.jsonl') || file.name in {[MODEL]: 1, [BANK]: 1}
        ? 'loaded ' + file.name : file.name;
    await request('put', {name, bytes: new Uint8Array(await file.arrayBuffer())});
    await run('inspect', '--check', '--', name);
    await run('chat', ...files(name)); // without a line to read: does the bank fit the model?
    await request('move', {from: name, to: BANK});
    await readMemory();
    return `Loaded ${file.name}.`;
}

async function save() {
    const link = make('a', '');
    link.href = URL.createObjectURL(new Blob([await request('get', {name: BANK})]));
    link.download = BANK;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// ---- questions
async function ask(question, right) {
    if (!question.trim()) throw new Error('Type a question first.');
    const done = await run('ask', ...files(BANK), '--json', '--', question);
    showAnswer(lines(done.out)[0], right, done.seconds);
    await look(question);
    return done.err;
}

function showAnswer({question, answer, sure, known, documents}, right, seconds) {
    $('answer').hidden = false;
    $('asked').textContent = question;
    $('said').textContent = known === false ? `Not in the memory. A guess: ${answer}` : answer;
    const took = `${seconds.toFixed(2)} s` + (right ? `; right is: ${right}` : '');
    const meter = make('meter', '');
    meter.value = sure ?? 0;
    $('sure').replaceChildren(...sure === undefined ? [took]
        : [meter, `sure ${(100 * sure).toFixed(1)}% that it is in the memory; ${took}`]);
    $('sources').replaceChildren(...documents.map(({id, title, weight}) =>
        make('details', '', make('summary', `${(100 * weight).toFixed(1)}%  ${title}`),
            make('p', texts.get(id) ?? 'A bank keeps vectors; the text is not in it.'))));
    if ($('sources').firstChild) $('sources').firstChild.open = true;
}

async function look(question) { // the program's picture of how the answer came about
    await run('look', ...files(BANK), '--out', 'look.html', '--', question);
    const picture = await request('get', {name: 'look.html'});
    $('look').srcdoc = new TextDecoder().decode(picture);
    $('look').hidden = false;
}

// ---- the start
async function start() {
    if (typeof WebAssembly !== 'object' || typeof DecompressionStream !== 'function')
        throw new Error('This browser is too old to run a program in a page (it lacks WebAssembly '
                        + 'or DecompressionStream): please use a current Firefox or Chromium.');
    const began = performance.now(), packed = {}, examples = JSON.parse($('examples').textContent);
    startWorker();
    for (const name of ['wasm', 'frame', 'whole', 'documents']) {
        packed[name] = $(name).textContent;
        $(name).remove();
    }
    const {documents} = await request('start', {packed});
    for (const {id, text} of lines(documents)) texts.set(id, text);
    await run('learn', ...files(BANK), 'documents.jsonl');
    await readMemory();
    $('text').value = examples.typed;
    for (const {question, right} of [...examples.five, {question: examples.asked}]) {
        const button = make('button', question);
        button.onclick = () => {
            $('question').value = question;
            act('ask-said', () => ask(question, right));
        };
        $('questions').append(make('li', '', button));
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    return `Ready in ${seconds} s, in which it read ${held.length} documents.`;
}

$('ask').querySelector('form').onsubmit = event => {
    event.preventDefault();
    act('ask-said', () => ask($('question').value));
};
$('learn').querySelector('form').onsubmit = event => {
    event.preventDefault();
    act('learn-said', () => learn($('text').value));
};
$('save').onclick = () => act('memory-said', save);
$('load').onclick = () => $('file').click();
$('file').onchange = () => {
    if ($('file').files[0]) act('memory-said', () => load($('file').files[0]));
};
$('filter').oninput = () => {
    shown = PAGE;
    showMemory();
};
$('more').onclick = () => {
    shown += PAGE;
    showMemory();
};
act('state', start);
