// wasi.mjs - runs a program for wasm32-wasi: node --no-warnings tests/golden/wasi.mjs PROGRAM [ARGUMENT ...]
// It sees the current folder and nothing else.
import {readFile} from 'node:fs/promises';
import {WASI} from 'node:wasi';
const args = process.argv.slice(2);
const wasi = new WASI({version: 'preview1', args, env: {}, preopens: {'.': '.'}, returnOnExit: true});
const module = await WebAssembly.compile(await readFile(args[0]));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
