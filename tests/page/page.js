// page.js - what a person sees and does.  All text goes in by textContent: none of it is HTML.
'use strict';
const $ = id => document.getElementById(id);
const MODEL = 'model.safetensors', BANK = 'memory.safetensors', PART = 50, PORTION = 100;
const seconds = () => (performance.now() / 1000).toFixed(1); // since the page was opened
const texts = new Map(); // a text by its hash, for the reader's eyes: the memory has only hashes
const lines = text => text.split('\n').filter(Boolean).map(line => JSON.parse(line));
const using = bank => ['--model', MODEL, '--bank', bank];
let held = [], shown = PART; // {id, title, hash} of all documents, the newest first

function make(tag, text, ...inside) {
    const element = document.createElement(tag);
    element.textContent = text;
    element.append(...inside);
    return element;
}

// ---- the worker: a request is answered by its number
const waiting = new Map();
let worker, requests = 0;

function startWorker() {
    worker = new Worker(URL.createObjectURL(new Blob([$('worker').textContent])));
    worker.onmessage = ({data: {id, result, error}}) => {
        if (error) waiting.get(id).fail(new Error(`The program broke off (${error}).`));
        else if (id) waiting.get(id).done(result);
        waiting.delete(id);
    };
}

function request(task, more) {
    return new Promise((done, fail) => {
        waiting.set(++requests, {done, fail});
        worker.postMessage({id: requests, task, ...more});
    });
}

async function run(...args) { // a command; if it fails, its own sentence is the error
    const done = await request('run', {args});
    if (done.code) throw new Error(done.err.trim().split('\n').pop().replace(/^run: /, ''));
    return done;
}

const write = (name, document) =>
    request('put', {name, bytes: new TextEncoder().encode(JSON.stringify(document))});

// Does one thing after another; what came of it is told at `where`.
let last = Promise.resolve();
function act(where, work) {
    const tell = (sentence, wrong) => {
        $(where).textContent = sentence;
        $(where).classList.toggle('wrong', wrong);
    };
    tell('...', false);
    last = last.then(work).then(said => tell(said, false), error => tell(error.message, true));
}

// ---- the memory
async function readMemory() {
    held = lines((await run('list', '--bank', BANK, '--json')).out).reverse();
    showMemory();
}

const textOf = id => texts.get(held.find(e => e.id === id).hash);

function entry(title, text = 'A bank keeps vectors: the text is not in it.') {
    return make('details', '', make('summary', title), make('p', text.slice(0, 2000)));
}

async function forget(id, title) {
    await run('forget', '--bank', BANK, '--', id);
    await readMemory();
    $('held').focus();
    return `Forgotten: ${title}. The memory is as if it had never been learned.`;
}

function showMemory(most = shown) {
    shown = most;
    const part = $('filter').value.toLowerCase();
    const some = held.filter(({title}) => title.toLowerCase().includes(part));
    $('list').replaceChildren(...some.slice(0, shown).map(({id, title, hash}) => {
        const button = make('button', 'forget');
        button.setAttribute('aria-label', `forget ${title}`);
        button.onclick = () => act('memory-said', () => forget(id, title));
        return make('li', '', entry(title, texts.get(hash)), button);
    }));
    $('held').textContent = `${held.length} documents` + (part ? `, ${some.length} with this` : '');
    $('more').hidden = some.length <= shown;
    $('more').textContent = `Show more (${some.length - shown})`;
}

async function learn(text) {
    if (!text.trim()) throw new Error('Type a document first.');
    const letters = [...text.trim().slice(0, 200)], title = letters.slice(0, 60).join('');
    await write('typed.jsonl', {title: title + (letters.length > 60 ? '...' : ''), text});
    const {out, err, seconds} = await run('learn', ...using(BANK), '--json', 'typed.jsonl');
    await readMemory();
    if (!lines(out)[0].new) return 'The memory holds this text already.';
    texts.set(held[0].hash, text);
    showMemory();
    return `Learned in ${seconds.toFixed(2)} s, by reading it once. ${err}`;
}

async function load(file) { // under another name, until it is known to be good
    const name = `file ${file.name}`;
    try {
        await request('put', {name, bytes: new Uint8Array(await file.arrayBuffer())});
        await run('inspect', '--check', '--', name);
        await run('chat', ...using(name)); // with nothing to read: does the bank fit the model?
        await request('move', {from: name, to: BANK});
    } catch (error) {
        await request('move', {from: name});
        throw error;
    }
    await readMemory();
    return `This is the memory of ${file.name} now.`;
}

async function save() {
    const link = make('a', '');
    link.href = URL.createObjectURL(new Blob([await request('get', {name: BANK})]));
    link.download = BANK;
    link.click();
    return `The browser saves it as ${BANK}.`;
}

// ---- questions
async function ask(question, right) {
    if (!question.trim()) throw new Error('Type a question first.');
    const {out, err, seconds} = await run('ask', ...using(BANK), '--json', '--', question);
    const answer = lines(out)[0], [best] = answer.documents;
    showAnswer(answer, seconds, right);
    if (best) await look(question, textOf(best.id));
    return err;
}

async function look(question, text) { // the program's own picture of how the answer came about
    if (text) await write('best.jsonl', {text});
    await run('look', ...using(BANK), '--out', 'look.html', ...text ? ['--data', 'best.jsonl'] : [],
        '--', question);
    $('look').srcdoc = new TextDecoder().decode(await request('get', {name: 'look.html'}));
    $('look').hidden = false;
}

function showAnswer({question, answer, sure, known, documents}, seconds, right) {
    const took = `${seconds.toFixed(2)} s` + (right ? `; right is: ${right}` : '');
    const meter = make('meter', '');
    meter.value = sure ?? 0;
    $('answer').hidden = false;
    $('look').hidden = true;
    $('asked').textContent = question;
    $('said').textContent = known === false ? `Not in the memory. A guess: ${answer}` : answer;
    $('sure').replaceChildren(...sure === undefined ? [took]
        : [meter, `${(100 * sure).toFixed(1)}% sure that the memory holds it; ${took}`]);
    $('sources').replaceChildren(...documents.map(({id, title, weight}) =>
        entry(`${(100 * weight).toFixed(1)}%  ${title}`, textOf(id))));
    for (const first of $('sources').querySelectorAll('details:first-child')) first.open = true;
}

// ---- the start
// Reads the next documents.  All of them take a while, so a question may come between two portions.
async function readOn(documents, told) {
    const portion = held.length ? PORTION : 10; // the first one soon
    const encoded = new TextEncoder().encode(
        documents.slice(0, portion).map(document => JSON.stringify(document)).join('\n'));
    await request('put', {name: 'documents.jsonl', bytes: encoded});
    await run('learn', ...using(BANK), 'documents.jsonl');
    const before = held.length;
    await readMemory();
    const text = new Map(documents.map(document => [document.id, document.text]));
    for (const {id, hash} of held.slice(0, held.length - before)) texts.set(hash, text.get(id));
    showMemory();
    told.ready ??= seconds();
    if (documents.length <= portion)
        return `Ready in ${told.ready} s; ${held.length} documents were read in ${seconds()} s. `
            + `Of all questions about them ${Math.round(100 * told.right)}% are answered right.`;
    act('state', () => readOn(documents.slice(portion), told));
    return `Ready in ${told.ready} s, and still reading: ${held.length} documents so far.`;
}

async function start() {
    for (const name of ['WebAssembly', 'Worker', 'DecompressionStream'])
        if (!(name in globalThis)) {
            document.body.classList.add('useless');
            throw new Error(`This browser has no ${name}, without which the program cannot run: `
                            + 'please open the page in a current Firefox or Chromium.');
        }
    const packed = {}, examples = JSON.parse($('examples').textContent);
    $('state').textContent = 'Unpacking the model ...';
    startWorker();
    for (const name of ['wasm', 'frame', 'whole', 'documents']) packed[name] = $(name).textContent;
    const documents = lines(await request('start', {packed}));
    $('text').value = examples.typed;
    for (const {question, right} of [...examples.five, {question: examples.asked}]) {
        const button = make('button', question);
        button.onclick = () => {
            $('question').value = question;
            act('ask-said', () => ask(question, right));
        };
        $('questions').append(make('li', '', button));
    }
    return readOn(documents, {right: examples.right});
}

$('ask').onsubmit = () => act('ask-said', () => ask($('question').value));
$('learn').onsubmit = () => act('learn-said', () => learn($('text').value));
onsubmit = event => event.preventDefault();
$('save').onclick = () => act('memory-said', save);
$('load').onclick = () => $('file').click();
$('file').onchange = () => {
    const [file] = $('file').files;
    $('file').value = ''; // so that the same file can be chosen again
    act('memory-said', () => load(file));
};
$('look').onload = () => {
    $('look').style.height = `${$('look').contentDocument.documentElement.scrollHeight + 4}px`;
};
$('filter').oninput = () => showMemory(PART);
$('more').onclick = () => showMemory(shown + PART);
act('state', start);
