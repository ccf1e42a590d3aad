// build.mjs MODEL TESTS WASM OUT - writes OUT/index.html, the whole program in one page, and beside
// it the model as the page has it and the bank that it makes of TESTS' documents.
import fs from 'node:fs';
import vm from 'node:vm';
import {execFileSync} from 'node:child_process';
import {gzipSync} from 'node:zlib';

const [model, tests, wasm, out] = process.argv.slice(2);
const source = name => fs.readFileSync(new URL(name, import.meta.url), 'utf8');
const STEPS = 256; // in the root mean square of a matrix: with more the page has over 6 MB

// The frame and the multiples of fill.js.
function roundModel(file) {
    const frame = new Uint8Array(file), low = [], high = []; // a copy with a buffer of its own
    const head = 8 + Number(file.readBigUInt64LE(0));
    for (const {shape, data_offsets} of Object.values(JSON.parse(file.subarray(8, head)))) {
        if (!shape || shape.length < 2) continue;
        const n = (data_offsets[1] - data_offsets[0]) / 4;
        const x = new Float32Array(frame.buffer, head + data_offsets[0], n);
        const squares = x.reduce((sum, value) => sum + value * value, 0);
        const most = x.reduce((m, value) => Math.max(m, Math.abs(value)), 0);
        const step = Math.fround(Math.max(Math.sqrt(squares / n) / STEPS, most / 32000)) || 1;
        for (const value of x) {
            const times = Math.round(value / step);
            low.push(times & 255);
            high.push(times >> 8 & 255);
        }
        x.fill(0);
        x[0] = step;
    }
    return {frame, whole: Uint8Array.from([...low, ...high])};
}

if (!fs.existsSync(model)) {
    console.error(`page: there is no ${model}: run make demo first, which trains it`);
    process.exit(1);
}
fs.mkdirSync(out, {recursive: true});
const pack = bytes => gzipSync(bytes, {level: 9}).toString('base64');
const {frame, whole} = roundModel(fs.readFileSync(model));
const packed = {wasm: pack(fs.readFileSync(wasm)), frame: pack(frame), whole: pack(whole)};
vm.runInThisContext(source('fill.js'));
globalThis.fillModel(frame, whole);
fs.writeFileSync(`${out}/model.safetensors`, frame);

const documents = fs.readFileSync(tests, 'utf8').trim().split('\n').map(line => {
    const {id, title, text} = JSON.parse(line);
    return JSON.stringify({id, title, text}) + '\n';
});
packed.documents = pack(documents.join(''));
const files = ['--model', `${out}/model.safetensors`, '--bank', `${out}/bank.safetensors`];
fs.rmSync(`${out}/bank.safetensors`, {force: true});
execFileSync('./run', ['learn', ...files, tests], {stdio: ['ignore', 'ignore', 'inherit']});
const asked = execFileSync('./run', ['ask', ...files, '--json', '--data', tests, '--limit', '5']);
const five = String(asked).trim().split('\n').map(line => JSON.parse(line));

const figure = fs.readFileSync('tests/paper/figures/way.svg').toString('base64');
const parts = {
    figure: `data:image/svg+xml;base64,${figure}`,
    examples: JSON.stringify({
        typed: process.env.TYPED, asked: process.env.ASKED,
        five: five.map(({question, right}) => ({question, right})),
    }).replaceAll('<', '\\u003c'),
    worker: source('shim.js') + source('fill.js') + source('worker.js'),
    page: source('page.js'),
    ...packed,
};
const page = source('page.html').replace(/\{\{(\w+)\}\}/g, (all, name) => parts[name]);
fs.writeFileSync(`${out}/index.html`, page);
console.log(`${out}/index.html: ${page.length} characters; open it in a browser`);
