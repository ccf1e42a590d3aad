// shim.js - what a program for wasm32-wasi finds around itself: arguments, a clock, standard
// output and error, and files, which live in a Map from name to {bytes, size}.  These are the calls
// of WASI preview 1 that `run` imports.  Each returns the number of an error, or nothing, which
// is 0.
'use strict';
const BADF = 8, EXIST = 20, INVAL = 28, NOENT = 44, NOTDIR = 54;
const ALL = 0xffffffffffffffffn, FOLDER = 3; // its descriptor; files come after it

class Exit extends Error {}

// Runs a program from its start to its end.  Returns its exit status and what it wrote; a crash of
// the program is thrown.
function runProgram(module, args, files) {
    const open = new Map(); // descriptor -> {file, at}
    const words = args.map(word => new TextEncoder().encode(word + '\0'));
    const reader = [null, new TextDecoder(), new TextDecoder()]; // a character may come in pieces
    const said = [null, '', ''];
    let memory, code = 0; // memory has another buffer whenever it has grown
    const view = () => new DataView(memory.buffer);
    const bytes = (at, n) => new Uint8Array(memory.buffer, at, n);
    const put32 = (at, x) => view().setUint32(at, x, true);
    const put64 = (at, x) => view().setBigUint64(at, BigInt(x), true);
    const nameAt = (at, n) => new TextDecoder().decode(bytes(at, n));

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
    }

    function read(to, o) {
        const n = Math.max(0, Math.min(to.length, o.file.size - o.at));
        to.set(o.file.bytes.subarray(o.at, o.at + n));
        o.at += n;
        return n;
    }

    function write(from, o) {
        const {file, at} = o;
        const end = at + from.length;
        if (end > file.bytes.length) {
            const grown = new Uint8Array(2 * end);
            grown.set(file.bytes.subarray(0, file.size));
            file.bytes = grown;
        }
        file.bytes.set(from, at);
        file.size = Math.max(file.size, end);
        o.at = end;
        return from.length;
    }

    function print(fd, from) {
        said[fd] += reader[fd].decode(from, {stream: true});
        return from.length;
    }

    const calls = {
        args_sizes_get(countAt, sizeAt) {
            put32(countAt, words.length);
            put32(sizeAt, words.reduce((sum, word) => sum + word.length, 0));
        },
        args_get(listAt, at) {
            for (const word of words) {
                put32(listAt, at);
                bytes(at, word.length).set(word);
                listAt += 4;
                at += word.length;
            }
        },
        clock_time_get(clock, precision, to) { // nanoseconds
            put64(to, Math.round(1e3 * (performance.timeOrigin + performance.now())) + '000');
        },
        proc_exit(status) {
            code = status;
            throw new Exit();
        },
        fd_prestat_get(fd, to) { // 0, for a folder, and the length of its name
            if (fd !== FOLDER) return BADF;
            put64(to, 1n << 32n);
        },
        fd_prestat_dir_name(fd, to) {
            bytes(to, 1).set([46]); // "."
        },
        fd_fdstat_get(fd, to) { // 3 a folder, 4 a file; then flags, and all rights
            if (fd > FOLDER && !open.has(fd)) return BADF;
            [fd === FOLDER ? 3 : 4, ALL, ALL].forEach((x, i) => put64(to + 8 * i, x));
        },
        fd_fdstat_set_flags() {},
        fd_close: fd => open.delete(fd) || fd < FOLDER ? 0 : BADF,
        fd_read(fd, at, n, sumAt) { // standard input is empty
            if (fd !== 0 && !open.has(fd)) return BADF;
            return pieces(at, n, sumAt, to => fd === 0 ? 0 : read(to, open.get(fd)));
        },
        fd_write(fd, at, n, sumAt) {
            const o = open.get(fd);
            if (!o && fd !== 1 && fd !== 2) return BADF;
            return pieces(at, n, sumAt, from => o ? write(from, o) : print(fd, from));
        },
        fd_seek(fd, offset, whence, to) { // from the start, from here, from the end
            const o = open.get(fd);
            if (!o) return BADF;
            const at = [0, o.at, o.file.size][whence] + Number(offset);
            if (!(at >= 0)) return INVAL;
            o.at = at;
            put64(to, at);
        },
        path_open(folder, follow, at, length, how, rights, inherited, flags, to) {
            const name = nameAt(at, length), create = how & 1, exclusive = how & 4, empty = how & 8;
            if (files.has(name) ? exclusive : !create) return files.has(name) ? EXIST : NOENT;
            if (!files.has(name) || empty) files.set(name, {bytes: new Uint8Array(1024), size: 0});
            let fd = FOLDER + 1;
            while (open.has(fd)) fd++;
            open.set(fd, {file: files.get(name), at: 0});
            put32(to, fd);
        },
        path_rename(folder, oldAt, oldLength, newFolder, newAt, newLength) {
            const old = nameAt(oldAt, oldLength), file = files.get(old);
            if (!file) return NOENT;
            files.delete(old);
            files.set(nameAt(newAt, newLength), file);
        },
        path_unlink_file: (folder, at, n) => files.delete(nameAt(at, n)) ? 0 : NOENT,
        path_create_directory: () => NOTDIR,
        path_remove_directory: () => NOTDIR,
    };
    const program = new WebAssembly.Instance(module, {wasi_snapshot_preview1: calls}).exports;
    memory = program.memory;
    try {
        program._start();
    } catch (error) {
        if (!(error instanceof Exit)) throw error;
    }
    return {code, out: said[1], err: said[2]};
}
