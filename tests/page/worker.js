// worker.js - beside the page, so that the page stays alive: unpacks what is embedded, keeps the
// files, and runs the program, one command after another.  shim.js stands before it.
const files = new Map();
const put = (name, bytes) => files.set(name, {bytes, size: bytes.length});
let program;

async function unpacked(text) { // what was packed by gzip and written in base64
    const letters = atob(text), packed = new Uint8Array(letters.length);
    for (let i = 0; i < packed.length; i++) packed[i] = letters.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The model's matrices are whole multiples of a step, each of its own.  The frame is the model's
// file, with only the step in each matrix, in its first place; `whole` holds the multiples of all,
// the low bytes of all before the high ones, which gzip likes.
function fillModel(frame, whole) {
    const head = 8 + Number(new DataView(frame.buffer).getBigUint64(0, true));
    const tensors = JSON.parse(new TextDecoder().decode(frame.subarray(8, head)));
    const high = new Int8Array(whole.buffer, whole.length / 2);
    let i = 0;
    for (const {shape, data_offsets} of Object.values(tensors)) {
        if (!shape || shape.length < 2) continue; // __metadata__, or a vector, which stays as it is
        const [begin, end] = data_offsets;
        const x = new Float32Array(frame.buffer, head + begin, (end - begin) / 4), step = x[0];
        for (let k = 0; k < x.length; k++, i++) x[k] = step * (256 * high[i] + whole[i]);
    }
}

const tasks = {
    async start({packed}) {
        const frame = await unpacked(packed.frame), documents = await unpacked(packed.documents);
        fillModel(frame, await unpacked(packed.whole));
        put('model.safetensors', frame);
        program = await WebAssembly.compile(await unpacked(packed.wasm));
        return new TextDecoder().decode(documents);
    },
    put: ({name, bytes}) => { put(name, bytes); },
    get: ({name}) => files.get(name).bytes.slice(0, files.get(name).size),
    move({from, to}) { // without `to` it goes
        if (to) files.set(to, files.get(from));
        files.delete(from);
    },
    run({args}) {
        const began = performance.now();
        try {
            const done = runProgram(program, ['run', ...args], files);
            return {...done, seconds: (performance.now() - began) / 1000};
        } finally { // what a command leaves that could not end
            for (const name of files.keys()) if (name.endsWith('.mac-part')) files.delete(name);
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
