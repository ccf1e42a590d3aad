// worker.js - beside the page, so that the page stays alive: unpacks what is embedded, keeps the
// files, and runs the program, one command after another.  shim.js stands before it.
const files = new Map();
let program = null;

async function unpacked(text) { // what was packed by gzip and written in base64
    const packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
}

function put(name, bytes) {
    files.set(name, {bytes, size: bytes.length});
}

const tasks = {
    async start({packed}) {
        const frame = await unpacked(packed.frame);
        fillModel(frame, await unpacked(packed.whole));
        put('model.safetensors', frame);
        put('documents.jsonl', await unpacked(packed.documents));
        program = await WebAssembly.compile(await unpacked(packed.wasm));
        return {documents: new TextDecoder().decode(files.get('documents.jsonl').bytes)};
    },
    put({name, bytes}) { put(name, bytes); },
    get({name}) {
        const f = files.get(name);
        return f && f.bytes.slice(0, f.size);
    },
    move({from, to}) {
        files.set(to, files.get(from));
        files.delete(from);
    },
    run({args}) {
        const began = performance.now(), part = /\.mac-part$/;
        try {
            const done = runProgram(program, ['run', ...args], files, say => postMessage({say}));
            return {...done, seconds: (performance.now() - began) / 1000};
        } finally { // what a command leaves that could not end
            for (const name of files.keys()) if (part.test(name)) files.delete(name);
        }
    },
};

onmessage = async ({data}) => {
    try {
        postMessage({id: data.id, result: await tasks[data.task](data)});
    } catch (error) {
        postMessage({id: data.id, error: String(error)});
    }
};
