// test_page.mjs FOLDER TESTS - opens FOLDER/index.html in headless Chromium, from disk, and does
// what a person does.  The native program, with the same model and documents, says what is right.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {execFileSync, spawn} from 'node:child_process';

const [folder, tests] = process.argv.slice(2);
const model = `${folder}/model.safetensors`, bank = `${folder}/bank.safetensors`;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'));
const quiet = {stdio: ['ignore', 'pipe', 'ignore']};
const native = (...args) => String(execFileSync('./run', args, quiet));
let checks = 0, failed = 0;
function check(ok, what) {
    checks++;
    if (ok) return;
    failed++;
    console.log(`page: ${what}`);
}

// ---- the browser: it reads JSON from descriptor 3 and writes it to 4, each message ended by a 0
const browser = spawn('chromium', ['--headless', '--no-sandbox', '--disable-gpu',
    '--remote-debugging-pipe', `--user-data-dir=${scratch}/profile`, 'about:blank'],
{stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
const waiting = new Map();
let count = 0, session, rest = '', onLoad = () => {};
browser.stdio[4].setEncoding('utf8').on('data', more => {
    const messages = (rest + more).split('\0');
    rest = messages.pop();
    for (const {id, method, result, error} of messages.map(m => JSON.parse(m))) {
        if (method === 'Page.loadEventFired') onLoad();
        if (id) waiting.get(id)(error ? {error} : result);
    }
});
function send(method, params = {}) {
    const message = {id: ++count, sessionId: session, method, params};
    browser.stdio[3].write(JSON.stringify(message) + '\0');
    return new Promise(done => waiting.set(count, done));
}
async function js(expression) { // its value in the page
    const how = {awaitPromise: true, returnByValue: true};
    const got = await send('Runtime.evaluate', {expression, ...how});
    if (got.exceptionDetails) throw new Error(got.exceptionDetails.exception.description);
    return got.result.value;
}
const idle = () => js('(async () => { for (let all; all !== last;) await (all = last); })()');
const text = id => js(`$('${id}').innerText`);
async function open() {
    const loaded = new Promise(done => { onLoad = done; });
    await send('Page.navigate', {url: 'file://' + path.resolve(folder, 'index.html')});
    await loaded;
    await idle();
}
async function key(name, code, letters) {
    for (const type of ['keyDown', 'keyUp'])
        await send('Input.dispatchKeyEvent', {type, key: name, windowsVirtualKeyCode: code,
            text: type === 'keyDown' ? letters : undefined});
}
// By keyboard alone: from the field, with `tabs` to the button after it; what is told then.
async function type(field, words, tabs, told) {
    await js(`$('${field}').focus(); $('${field}').select()`);
    await send('Input.insertText', {text: words});
    if (!words) await key('Delete', 46);
    for (let i = 0; i < tabs; i++) await key('Tab', 9);
    await key('Enter', 13, '\r');
    await idle();
    return text(told);
}
const learn = words => type('text', words, 1, 'learn-said');
const ask = (words, told = 'said') => type('question', words, 0, told);
async function load(bytes, name) { // what is told when this file is chosen
    fs.writeFileSync(`${scratch}/${name}`, bytes);
    const {root} = await send('DOM.getDocument');
    const {nodeId} = await send('DOM.querySelector', {nodeId: root.nodeId, selector: '#file'});
    await send('DOM.setFileInputFiles', {nodeId, files: [`${scratch}/${name}`]});
    await idle();
    return text('memory-said');
}
async function picture(name, width, scheme) {
    await send('Emulation.setDeviceMetricsOverride',
        {width, height: 900, deviceScaleFactor: 1, mobile: width < 500});
    await send('Emulation.setEmulatedMedia',
        {features: [{name: 'prefers-color-scheme', value: scheme}]});
    check(await js('document.documentElement.scrollWidth <= innerWidth'), `${width}: too wide`);
    const {data} = await send('Page.captureScreenshot', {captureBeyondViewport: true});
    fs.writeFileSync(`${folder}/${name}.png`, Buffer.from(data, 'base64'));
}
const saved = async () => Buffer.from(await js(`request('get', {name: BANK}).then(bytes =>
    new Promise(done => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result.split(',')[1]);
        reader.readAsDataURL(new Blob([bytes]));
    }))`), 'base64');

// ---- what a person does
async function testLearning({typed, asked}) {
    const with_it = `${scratch}/with_it.safetensors`, before = await saved();
    fs.copyFileSync(bank, with_it);
    fs.writeFileSync(`${scratch}/typed.txt`, typed);
    native('learn', '--model', model, '--bank', with_it, `${scratch}/typed.txt`);
    const right = JSON.parse(native('ask', '--model', model, '--bank', with_it, '--json', asked));
    check((await learn(typed)).startsWith('Learned in'), await text('learn-said'));
    check((await ask(asked)).endsWith(right.answer), `${await text('said')}, not ${right.answer}`);
    check((await text('sure')).includes(`${(100 * right.sure).toFixed(1)}%`), await text('sure'));
    check((await text('sources')).includes(typed) === (right.documents[0].title === 'typed'),
        'the source is another one');
    check((await js('$("look").contentDocument.body.innerText')).includes(asked), 'no picture');
    await picture('page-1280', 1280, 'light');
    await picture('page-390', 390, 'light');
    await picture('page-dark', 1280, 'dark');
    check((await learn(typed)).includes('already'), 'learned twice');
    await js('$("list").querySelector("button").click()');
    await idle();
    check((await saved()).equals(before), 'forgetting leaves a trace');
}

async function testAnswers(questions) {
    const files = ['--model', model, '--bank', bank, '--threads', '1', '--json', '--'], times = [];
    const right = native('ask', ...files, ...questions).trim().split('\n');
    const answers = (await js(`run('ask', ...using(BANK), '--json', '--',
        ...${JSON.stringify(questions)}).then(done => done.out)`)).trim().split('\n');
    const other = right.findIndex((line, i) => line !== answers[i]);
    check(right.length === 100 && other < 0, `${answers[other]}, not ${right[other]}`);
    for (const question of questions.slice(0, 15)) {
        const began = performance.now();
        native('ask', ...files, question);
        times.push([performance.now() - began, 1000 * await js(`run('ask', ...using(BANK), '--json',
            '--', ${JSON.stringify(question)}).then(done => done.seconds)`)]);
    }
    const [ours, theirs] = [0, 1].map(i => times.map(t => t[i]).sort((a, b) => a - b)[7]);
    console.log(`an answer takes ${theirs.toFixed(0)} ms: ${(theirs / ours).toFixed(1)} times the `
                + `native program's ${ours.toFixed(0)} ms`);
}

async function testBadInput({text: newest, qas: [qa]}) {
    const before = await text('held');
    check(await ask(' ', 'ask-said') === 'Type a question first.', 'no question');
    check(await learn('') === 'Type a document first.', 'no document');
    await ask('--help');
    check(await text('asked') === '--help', 'a question that looks like an option');
    const html = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
    check((await learn(html)).startsWith('Learned'), 'HTML is a document');
    check((await text('list')).startsWith(html.slice(0, 60)), 'HTML in a title is no text');
    await ask(html);
    check(await js('document.title !== "1" && !document.querySelector("main ul img")'), 'HTML ran');
    check(/longer.*cut/.test(await learn('word '.repeat(2e5))), await text('learn-said'));
    const whole = await saved(), other = Buffer.from(whole);
    const at = other.indexOf('"model":"') + 9;
    other[at] = other[at] === 0x30 ? 0x31 : 0x30;
    for (const [bytes, sentence] of [[fs.readFileSync(model), 'not a memory bank'],
        [other, 'made by another model'], [whole.subarray(0, whole.length / 2), 'beyond the end'],
        [Buffer.from(html), 'not a safetensors file']]) {
        const told = await load(bytes, 'memory.safetensors');
        check(told.includes(sentence) && !told.includes('\n'), `${sentence}: ${told}`);
        check((await saved()).equals(whole), `${sentence}: the memory is another one`);
    }
    await load(fs.readFileSync(bank), 'saved.safetensors');
    check(await text('held') === before, `not loaded: ${await text('memory-said')}`);
    check((await js('$("list").textContent')).includes(newest), 'a saved text is not known again');
    await load(manyDocuments(10000), 'many.safetensors');
    check(!(await js('$("list").textContent')).includes(newest), 'the text of another document');
    check(await text('held') === '10000 documents', await text('memory-said'));
    await ask(qa.q);
    check(await text('asked') === qa.q, `10,000 documents: ${await text('ask-said')}`);
    check(await js('$("list").children.length <= 100'), 'the list is too long');
}

function manyDocuments(n) { // the bank's documents again and again, under other ids
    const file = fs.readFileSync(bank), head = 8 + Number(file.readBigUInt64LE(0));
    const {__metadata__: {format, model: maker, tokens}, phi} = JSON.parse(file.subarray(8, head));
    const rows = file.subarray(head, head + phi.data_offsets[1]), size = rows.length / phi.shape[0];
    const entries = Buffer.from(Array.from({length: n}, (_, i) =>
        `many-${i}\0<b>${i}\0${i.toString(16).padStart(16, '0')}\0`).join(''));
    const header = Buffer.from(JSON.stringify({__metadata__: {format, model: maker, tokens},
        phi: {...phi, shape: [n, ...phi.shape.slice(1)], data_offsets: [0, n * size]},
        entries: {dtype: 'U8', shape: [entries.length],
            data_offsets: [n * size, n * size + entries.length]}}));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, Buffer.alloc(n * size, rows), entries]);
}

async function main() {
    const {targetInfos} = await send('Target.getTargets');
    const {targetId} = targetInfos.find(target => target.type === 'page');
    session = (await send('Target.attachToTarget', {flatten: true, targetId})).sessionId;
    await send('Page.enable');
    await send('Network.emulateNetworkConditions',
        {offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0});
    const size = fs.statSync(`${folder}/index.html`).size;
    check(size <= 6e6, `the page has ${size} bytes`);
    await open();
    console.log(`${size} bytes; the page says: ${await text('state')}`);
    const documents = fs.readFileSync(tests, 'utf8').trim().split('\n').map(l => JSON.parse(l));
    const qas = documents.flatMap(d => d.qas);
    check(await text('held') === `${documents.length} documents`, 'not all are held');
    check((await saved()).equals(fs.readFileSync(bank)), 'its bank is not the native one');
    await testAnswers(Array.from({length: 100}, (_, i) => qas[Math.floor(i * qas.length / 100)].q));
    await testLearning(JSON.parse(await js('$("examples").textContent')));
    await testBadInput(documents.at(-1));
    await send('Page.addScriptToEvaluateOnNewDocument', {source: 'delete globalThis.WebAssembly'});
    await open();
    check((await text('state')).startsWith('This browser has no WebAssembly'), await text('state'));
}
try {
    await main();
} finally {
    await new Promise(done => browser.on('exit', done).kill());
    fs.rmSync(scratch, {recursive: true, force: true});
}
console.log(`test_page: ${checks} checks, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
