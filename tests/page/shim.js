// shim.js - what a program for wasm32-wasi finds around itself: arguments, a clock, standard output
// and standard error, and files, which live in a Map from name to {bytes, size}.  Only the calls of
// WASI preview 1 that `run` imports; each returns 0 or the number of an error.
'use strict';

const OK = 0, BADF = 8, EXIST = 20, INVAL = 28, NOENT = 44, NOTDIR = 54;
const FOLDER = 3; // the descriptor of the one folder; files come after it

class Exit extends Error {
    constructor(code) {
        super('exit ' + code);
        this.code = code;
    }
}

// Runs a program from its start to its end.  `say` takes each piece of what it writes to standard
// error.  Returns its exit status and what it wrote; a crash of the program is thrown.
function runProgram(module, args, files, say) {
    const open = new Map(); // descriptor -> {file, at}
    const words = args.map(word => new TextEncoder().encode(word + '\0'));
    const text = [null, new TextDecoder(), new TextDecoder()]; // a character may come in two pieces
    const said = [null, '', ''];
    let memory = null; // its buffer is another one whenever it has grown
    const view = () => new DataView(memory.buffer);
    const bytes = (at, n) => new Uint8Array(memory.buffer, at, n);
    const put32 = (at, x) => view().setUint32(at, x, true);
    const put64 = (at, x) => view().setBigUint64(at, BigInt(x), true);
    const nameAt = (at, n) => new TextDecoder().decode(bytes(at, n));

    function list(arrayAt, textAt) { // the arguments: pointers and what they point to
        words.forEach((word, i) => {
            put32(arrayAt + 4 * i, textAt);
            bytes(textAt, word.length).set(word);
            textAt += word.length;
        });
        return OK;
    }

    // Calls `each` with the pieces of memory that `n` pairs of address and length name, until one
    // is not used up; puts the sum of what was used at `sumAt`.
    function pieces(at, n, sumAt, each) {
        let sum = 0;
        for (let i = 0; i < n; i++) {
            const size = view().getUint32(at + 8 * i + 4, true);
            const used = each(bytes(view().getUint32(at + 8 * i, true), size));
            sum += used;
            if (used < size) break;
        }
        put32(sumAt, sum);
        return OK;
    }

    function write(from, o) {
        const f = o.file, end = o.at + from.length;
        if (end > f.bytes.length) {
            const grown = new Uint8Array(Math.max(end, 2 * f.bytes.length));
            grown.set(f.bytes.subarray(0, f.size));
            f.bytes = grown;
        }
        f.bytes.set(from, o.at);
        o.at = end;
        f.size = Math.max(f.size, end);
        return from.length;
    }

    function read(to, o) {
        const n = Math.max(0, Math.min(to.length, o.file.size - o.at));
        to.set(o.file.bytes.subarray(o.at, o.at + n));
        o.at += n;
        return n;
    }

    const calls = {
        args_sizes_get(countAt, sizeAt) {
            put32(countAt, words.length);
            put32(sizeAt, words.reduce((n, word) => n + word.length, 0));
            return OK;
        },
        args_get: list,
        clock_time_get(clock, precision, to) {
            put64(to, Math.round(1e3 * (performance.timeOrigin + performance.now())) + '000');
            return OK;
        },
        proc_exit(code) { throw new Exit(code); },

        fd_prestat_get(fd, to) { // the folder's kind, 0, and the length of its name
            if (fd !== FOLDER) return BADF;
            put32(to, 0);
            put32(to + 4, 1);
            return OK;
        },
        fd_prestat_dir_name(fd, to) {
            bytes(to, 1)[0] = '.'.charCodeAt(0);
            return OK;
        },
        fd_fdstat_get(fd, to) { // kind: 3 a folder, 4 a file; flags; all rights
            if (fd > FOLDER && !open.has(fd)) return BADF;
            put64(to, fd === FOLDER ? 3 : 4);
            put64(to + 8, '0xffffffffffffffff');
            put64(to + 16, '0xffffffffffffffff');
            return OK;
        },
        fd_fdstat_set_flags: () => OK,
        fd_close: fd => open.delete(fd) || fd < FOLDER ? OK : BADF,
        fd_read(fd, at, n, sumAt) { // standard input is empty
            if (fd !== 0 && !open.has(fd)) return BADF;
            return pieces(at, n, sumAt, to => fd === 0 ? 0 : read(to, open.get(fd)));
        },
        fd_write(fd, at, n, sumAt) {
            if (open.has(fd)) return pieces(at, n, sumAt, from => write(from, open.get(fd)));
            if (fd !== 1 && fd !== 2) return BADF;
            return pieces(at, n, sumAt, from => {
                const more = text[fd].decode(from, {stream: true});
                said[fd] += more;
                if (fd === 2) say(more);
                return from.length;
            });
        },
        fd_seek(fd, offset, whence, to) { // from the start, from here, from the end
            const o = open.get(fd);
            if (!o) return BADF;
            const at = [0, o.at, o.file.size][whence] + Number(offset);
            if (!(at >= 0)) return INVAL;
            o.at = at;
            put64(to, at);
            return OK;
        },

        path_open(folder, follow, nameAt_, length, how, rights, inherited, flags, to) {
            const CREATE = 1, EXCLUSIVE = 4, EMPTY = 8;
            const name = nameAt(nameAt_, length);
            if (!files.has(name) && !(how & CREATE)) return NOENT;
            if (files.has(name) && how & EXCLUSIVE) return EXIST;
            if (!files.has(name) || how & EMPTY)
                files.set(name, {bytes: new Uint8Array(1024), size: 0});
            let fd = FOLDER + 1;
            while (open.has(fd)) fd++;
            open.set(fd, {file: files.get(name), at: 0});
            put32(to, fd);
            return OK;
        },
        path_rename(folder, oldAt, oldLength, newFolder, newAt, newLength) {
            const old = nameAt(oldAt, oldLength);
            if (!files.has(old)) return NOENT;
            files.set(nameAt(newAt, newLength), files.get(old));
            files.delete(old);
            return OK;
        },
        path_unlink_file: (folder, at, n) => files.delete(nameAt(at, n)) ? OK : NOENT,
        path_create_directory: () => NOTDIR,
        path_remove_directory: () => NOTDIR,
    };

    let code = 0;
    const program = new WebAssembly.Instance(module, {wasi_snapshot_preview1: calls}).exports;
    memory = program.memory;
    try {
        program._start();
    } catch (error) {
        if (!(error instanceof Exit)) throw error;
        code = error.code;
    }
    return {code, out: said[1], err: said[2]};
}
