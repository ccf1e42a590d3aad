// build.mjs MODEL TESTS WASM OUT - writes OUT/index.html, the whole program in one page, and beside
// it the model as the page has it and the bank that this makes of TESTS' documents.
import fs from 'node:fs';
import {execFileSync} from 'node:child_process';
import {gzipSync} from 'node:zlib';

const [model, tests, wasm, out] = process.argv.slice(2);
const STEPS = 256; // in the root mean square of a matrix: with more the page has over 6 MB
const pack = bytes => gzipSync(bytes, {level: 9}).toString('base64');
const source = name => fs.readFileSync(new URL(name, import.meta.url), 'utf8');
const quiet = {stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: Infinity};
const run = (...args) => String(execFileSync('./run', args, quiet));
const json = text => text.trim().split('\n').map(line => JSON.parse(line));

// Rounds a model's matrices; its frame and its multiples, as worker.js wants them.
function roundModel(file) {
    const rounded = new Uint8Array(file), frame = new Uint8Array(file), low = [], high = [];
    const head = 8 + Number(file.readBigUInt64LE(0));
    for (const {shape, data_offsets} of Object.values(JSON.parse(file.subarray(8, head)))) {
        if (!shape || shape.length < 2) continue;
        const place = [head + data_offsets[0], (data_offsets[1] - data_offsets[0]) / 4];
        const x = new Float32Array(rounded.buffer, ...place);
        const steps = new Float32Array(frame.buffer, ...place).fill(0);
        const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
        const most = x.reduce((sofar, value) => Math.max(sofar, Math.abs(value)), 0);
        steps[0] = Math.max(Math.sqrt(mean) / STEPS, most / 32767) || 1;
        x.forEach((value, i) => {
            const times = Math.round(value / steps[0]) + 0; // -0 + 0 is 0
            x[i] = steps[0] * times;
            low.push(times & 255);
            high.push(times >> 8 & 255);
        });
    }
    return {rounded, frame, whole: Uint8Array.from([...low, ...high])};
}

if (!fs.existsSync(model)) {
    console.error(`page: there is no ${model}: run make demo first, which trains it`);
    process.exit(1);
}
fs.mkdirSync(out, {recursive: true});
const {rounded, frame, whole} = roundModel(fs.readFileSync(model));
fs.writeFileSync(`${out}/model.safetensors`, rounded);

function answers(by, bank, limit) { // of this model to that many questions of the tests
    if (!fs.existsSync(bank)) run('learn', '--model', by, '--bank', bank, tests);
    return json(run('ask', '--model', by, '--bank', bank, '--json', '--data', tests,
        '--limit', limit));
}
const banks = [`${out}/bank.safetensors`, `${out}/before.safetensors`];
for (const bank of banks) fs.rmSync(bank, {force: true});
const five = answers(`${out}/model.safetensors`, banks[0], 5);
const ours = answers(`${out}/model.safetensors`, banks[0], 1e9);
const before = answers(model, banks[1], 1e9);
const right = ours.filter(given => given.answer === given.right).length / ours.length;
const changed = ours.filter(({answer}, i) => answer !== before[i].answer).length;
fs.rmSync(banks[1]);

const documents = json(fs.readFileSync(tests, 'utf8'))
    .map(({id, title, text}) => JSON.stringify({id, title, text}) + '\n');
const examples = {typed: process.env.TYPED, asked: process.env.ASKED, right,
    five: five.map(({question, right}) => ({question, right}))};
const parts = {
    figure: 'data:image/svg+xml;base64,'
        + fs.readFileSync('tests/paper/figures/way.svg').toString('base64'),
    examples: JSON.stringify(examples).replaceAll('<', '\\u003c'),
    worker: source('shim.js') + source('worker.js'), page: source('page.js'),
    wasm: pack(fs.readFileSync(wasm)), frame: pack(frame), whole: pack(whole),
    documents: pack(documents.join('')),
};
const page = source('page.html').replace(/\{\{(\w+)\}\}/g, (all, name) => parts[name]);
fs.writeFileSync(`${out}/index.html`, page);
console.log(`${out}/index.html: ${(page.length / 1e6).toFixed(2)} MB, to be opened in a browser; `
    + `rounding the model changes ${changed} of ${ours.length} answers`);
