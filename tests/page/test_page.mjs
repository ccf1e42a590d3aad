// test_page.mjs FOLDER TESTS - opens FOLDER/index.html in headless Chromium, from disk, and does what
// a person does.  The native program, with the same model and documents, says what is right.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {execFileSync, spawn} from 'node:child_process';

const [folder, tests] = process.argv.slice(2);
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'));
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
    browser.stdio[3].write(JSON.stringify({id: ++count, sessionId: session, method, params}) + '\0');
    return new Promise(done => waiting.set(count, done));
}
async function js(expression) { // its value in the page
    const got = await send('Runtime.evaluate', {expression, awaitPromise: true, returnByValue: true});
    if (got.exceptionDetails) throw new Error(got.exceptionDetails.exception.description);
    return got.result.value;
}
async function until(expression) {
    for (let i = 0; i < 6000; i++) {
        if (await js(expression)) return;
        await new Promise(done => setTimeout(done, 20));
    }
    throw new Error(`it never happened: ${expression}`);
}
const idle = () => until('!document.querySelector("button.main").disabled');
const text = id => js(`document.getElementById('${id}').innerText`);
async function open() {
    const loaded = new Promise(done => { onLoad = done; });
    await send('Page.navigate', {url: 'file://' + path.resolve(folder, 'index.html')});
    await loaded;
}
async function use(id, value, button) { // types into a field and presses its button
    await js(`$('${id}').value = ${JSON.stringify(value)}; $('${button}').querySelector(
        'button.main').click()`);
    await idle();
}
async function picture(name, width, dark) {
    await send('Emulation.setDeviceMetricsOverride',
        {width, height: 900, deviceScaleFactor: 1, mobile: width < 500});
    await send('Emulation.setEmulatedMedia',
        {features: [{name: 'prefers-color-scheme', value: dark ? 'dark' : 'light'}]});
    check(await js('document.documentElement.scrollWidth <= innerWidth'), `${width}: too wide`);
    const {data} = await send('Page.captureScreenshot', {captureBeyondViewport: true});
    fs.writeFileSync(`${folder}/${name}.png`, Buffer.from(data, 'base64'));
}
async function load(file) {
    const {root} = await send('DOM.getDocument');
    const {nodeId} = await send('DOM.querySelector', {nodeId: root.nodeId, selector: '#file'});
    await send('DOM.setFileInputFiles', {nodeId, files: [path.resolve(file)]});
    await idle();
}

const model = `${folder}/model.safetensors`, bank = `${folder}/bank.safetensors`;
const native = (...args) => String(execFileSync('./run', args, {stdio: ['ignore', 'pipe', 'ignore']}));
const files = ['--model', model, '--bank', bank, '--threads', '1', '--json'];

const bankBytes = () => js(`request('get', {name: BANK}).then(b => btoa(Array.from(b,
    x => String.fromCharCode(x)).join('')))`);

function withTyped(typed) { // the native bank, and the typed text besides
    fs.copyFileSync(bank, `${scratch}/bank.safetensors`);
    fs.writeFileSync(`${scratch}/typed.txt`, typed);
    native('learn', '--model', model, '--bank', `${scratch}/bank.safetensors`, `${scratch}/typed.txt`);
    return `${scratch}/bank.safetensors`;
}

async function testAnswers(questions) {
    const right = native('ask', ...files, '--', ...questions).trim().split('\n');
    const paged = (await js(`run('ask', ...files(BANK), '--json', '--',
        ...${JSON.stringify(questions)}).then(done => done.out)`)).trim().split('\n');
    check(right.length === questions.length, 'the native program did not answer all');
    const other = right.findIndex((line, i) => line !== paged[i]);
    check(other < 0, `another answer: ${paged[other]}, not ${right[other]}`);
    const fair = [[], []];
    for (const question of questions.slice(0, 20)) {
        const began = performance.now();
        native('ask', ...files, '--', question);
        fair[0].push(performance.now() - began);
        fair[1].push(1000 * await js(`run('ask', ...files(BANK), '--json', '--',
            ${JSON.stringify(question)}).then(done => done.seconds)`));
    }
    const [ours, theirs] = fair.map(times => times.sort((a, b) => a - b)[10]);
    console.log(`an answer takes ${theirs.toFixed(0)} ms, the native program ${ours.toFixed(0)} ms: `
                + `${(theirs / ours).toFixed(1)} times as long`);
}

// A person learns what is typed there, asks about it, and forgets it.
async function testLearning(typed, asked, known) {
    const said = question => use('question', question, 'ask').then(() => text('said'));
    const before = await bankBytes();
    check((await said(asked)).startsWith('Not in the memory') || !known, 'known before it is learned');
    await use('text', typed, 'learn');
    check((await text('learn-said')).startsWith('Learned'), await text('learn-said'));
    const right = JSON.parse(native('ask', '--model', model, '--bank', withTyped(typed), '--json', asked));
    check((await said(asked)).endsWith(right.answer), `${await text('said')}, not ${right.answer}`);
    check((await text('sources')).includes(typed), 'the typed document is not shown as the source');
    await use('text', typed, 'learn');
    check((await text('learn-said')).includes('already'), 'learned twice');
    await picture('page-1280', 1280, false);
    await picture('page-390', 390, false);
    await picture('page-dark', 1280, true);
    await js('$("list").querySelector("button").click()');
    await idle();
    check(await bankBytes() === before, 'forgetting leaves a trace');
}

async function main() {
    session = (await send('Target.attachToTarget', {flatten: true,
        targetId: (await send('Target.getTargets')).targetInfos.find(t => t.type === 'page').targetId,
    })).sessionId;
    await send('Page.enable');
    await send('Network.emulateNetworkConditions',
        {offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0});
    const size = fs.statSync(`${folder}/index.html`).size;
    check(size <= 6e6, `the page has ${size} bytes`);
    const began = performance.now();
    await open();
    await idle();
    console.log(`${size} bytes, ready in ${((performance.now() - began) / 1000).toFixed(1)} s`);

    const documents = fs.readFileSync(tests, 'utf8').trim().split('\n').map(l => JSON.parse(l));
    const qas = documents.flatMap(d => d.qas);
    check((await text('held')).startsWith(`${documents.length} documents`), 'not all are held');
    check(await bankBytes() === fs.readFileSync(bank, 'base64'), 'its bank is not the native one');
    const {typed, asked} = JSON.parse(await js('$("examples").textContent'));
    await testLearning(typed, asked);
    await testAnswers(Array.from({length: 100}, (_, i) => qas[Math.floor(i * qas.length / 100)].q));
}
await main();
await new Promise(done => browser.on('exit', done).kill());
fs.rmSync(scratch, {recursive: true, force: true});
console.log(`test_page: ${checks} checks, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
