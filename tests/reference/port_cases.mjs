// What stands around the model: text, files, batches; and the cases of tests/vectors, by which
// port.mjs checks itself. Written from their page alone.
import fs from 'node:fs';
import path from 'node:path';
import {
  FLOAT, tensor, width, constant, range, starts, div, size, mapped, sum, backward, stack, add,
  rows, cols, linear, norm, relu, tanh, geluTanh, geluErf, softmax, crossEntropy, negLog,
  squareError, attention, t5, encodeDocuments, encodeQuestions, aggregate, expand, lmPositions,
  lmHidden, lmLogits, lmLoss, macLoss, rateOf, step, moments, M64, next, uniform, whole, normal,
  SIZES, newModel, sharedStart, frozen, answer, versions, makeGate, train,
} from './port.mjs';

// ---- Level 6: text. Bytes, and ids: lists of numbers ----------------------------------------

const isLetter = x => x >= 65 && x <= 90 || x >= 97 && x <= 122 || x >= 128;
const isDigit = x => x >= 48 && x <= 57;
const isBlank = x => x >= 9 && x <= 13 || x === 32;
const run = (text, from, test) => {              // where a run of such bytes ends
  const i = text.findIndex((x, i) => i >= from && !test(x));
  return i < 0 ? text.length : i;
};

// A text in pieces, whose borders no merge crosses.
function chunks(text) {
  if (!text.length) return [];
  const near = text.slice(0, 64), blanks = run(near, 0, isBlank), space = Number(near[0] === 32);
  let n = Math.min(space + 1, near.length);
  if (blanks > space) n = blanks < near.length && near[blanks - 1] === 32 ? blanks - 1 : blanks;
  else if (isLetter(near[space])) n = run(near, space, isLetter);
  else if (isDigit(near[space])) n = Math.min(run(near, space, isDigit), space + 4);
  return [text.slice(0, n), ...chunks(text.slice(n))];
}

function merge(ids, [a, b], id) {                // every a b, from the left, becomes id
  const out = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === a && ids[i + 1] === b) { out.push(id); i++; } else out.push(ids[i]);
  }
  return out;
}
const pairs = ids => ids.slice(1).map((b, i) => [ids[i], b]);

function learnMerges(texts, vocab) {
  let all = texts.flatMap(chunks);
  const merges = [];
  while (merges.length < vocab - 257) {
    const counts = new Map(), key = ([a, b]) => a * 2 ** 24 + b;
    for (const pair of all.flatMap(pairs)) counts.set(key(pair), (counts.get(key(pair)) ?? 0) + 1);
    const [[best, count] = [0, 0]] = [...counts].sort((x, y) => y[1] - x[1] || x[0] - y[0]);
    if (count < 2) break;
    const pair = [div(best, 2 ** 24), best % 2 ** 24], id = 256 + merges.length;
    all = all.map(ids => merge(ids, pair, id));
    merges.push(pair);
  }
  return merges;
}

const encode = (merges, text) => chunks(text).flatMap(ids => {
  for (;;) {
    const found = pairs(ids).map(([a, b]) => merges.findIndex(m => m[0] === a && m[1] === b));
    const best = Math.min(...found.filter(i => i >= 0));
    if (best === Infinity) return ids;
    ids = merge(ids, merges[best], 256 + best);
  }
});
const spell = (merges, id) => id < 256 ? [id] : merges[id - 256].flatMap(x => spell(merges, x));

// what: 0 a document, 1 a question, 2 an answer.
function prompt(merges, text, what, most = Infinity) {
  const tail = [[10], [], [256 + merges.length]][what], room = most - tail.length;
  const ids = encode(merges, [text, asQuestion(text), [32, ...text]][what]);
  return { ids: [...ids.slice(0, room), ...tail], cut: Number(ids.length > room) };
}
function asQuestion(text) {
  let q = text.slice(run(text, 0, isBlank));
  while (isBlank(q.at(-1))) q = q.slice(0, -1);
  if (q[0] >= 97 && q[0] <= 122) q = [q[0] - 32, ...q.slice(1)];
  const [a, b] = [q.at(-2), q.at(-1)], accent = b >= 128 && a >= 0xc3 && a <= 0xca;
  return b < 128 && isLetter(b) || isDigit(b) || accent ? [...q, 63] : q;
}


// ---- Level 5: the batches of ./train -----------------------------------------------------

// With --rename 0 --reanswer 0 --made-names 0. c: titles and texts of the documents; of each
// question q its answer a and its document doc; state, S, docs and so on. draw(mac, i) draws a
// document for place i of a batch of mac, or of the stage lm.
function drawer(c) {
  const random = { state: c.state }, below = n => whole(random, n);
  const draws = n => range(n).forEach(() => next(random));
  const small = x => x >= 65 && x <= 90 ? x + 32 : x;
  const draw = (mac, i) => {
    const k = below(c.texts.length), asked = range(c.q.length).filter(j => c.doc[j] === k);
    draws(3);
    if (mac && i > 0 && below(2) === 1) draws(1);
    draws(1 + 2 * new Set(asked.map(j => String(c.a[j]))).size);
    const qas = asked.map(j => {
      const q = Number(next(random) >> 11n) / 2 ** 53 < 0.2 ? c.q[j].map(small) : c.q[j];
      return { q: prompt([], q, 1).ids, a: prompt([], c.a[j], 2).ids };
    });
    return { title: String(c.titles[k]), text: prompt([], c.texts[k], 0).ids, qas };
  };
  return { random, below, draw };
}
const around = (list, first, n) => range(n, first).map(i => list[i % list.length]);

function macBatch(c) {
  const { random, below, draw } = drawer(c), places = [];
  const nGrad = c.docs - Math.floor(c.docs * c.drop);
  for (let i = 0; i < c.docs; i++) {
    for (let tries = 1; places.length === i; tries++) {
      if (i > 0) below(i);
      const x = draw(true, i), useless = i < nGrad && !x.qas.length;
      if (!useless && (tries > 50 || !places.some(p => p.title === x.title))) places.push(x);
    }
  }
  const asked = places.flatMap(({ qas }, i) => {
    const first = qas.length ? below(qas.length) : 0;
    const n = i < nGrad ? Math.min(c.questions, qas.length) : 0;
    return around(qas, first, n).map(x => ({ ...x, i }));
  });
  const full = below(2), small = 2 ** below(1 + Math.log2(c.group));
  return { random, read: places.map(x => x.text), read_q: asked.map(x => x.q),
    read_qa: asked.map(x => [...x.q, ...x.a]), read_doc: asked.map(x => x.i),
    bank_size: [full ? c.group : small], n_grad: [nGrad] };
}

function lmBatch(c) {
  const { random, below, draw } = drawer(c), out = { random, read: [], asked: [], read_doc: [] };
  for (let i = 0; i < c.batch_lm; i++) {
    let x = draw(false, i);
    while (!x.qas.length) x = draw(false, i);
    const kind = below(8), f = below(x.qas.length), one = kind < 2, text = kind === 0 ? [] : x.text;
    const read = [...text], asked = text.map(() => Number(one));
    for (const { q, a } of around(x.qas, f, one ? 1 : x.qas.length)) {
      if (read.length + q.length + a.length > c.S) break;
      read.push(...q, ...a);
      asked.push(...q.map(() => Number(one)), ...a.map(() => 1));
    }
    out.read.push(read);
    out.asked.push(...asked);
    out.read_doc.push(text.length);
  }
  return out;
}

// ---- Level 8: files -------------------------------------------------------------------------

// Half precision: 1 bit sign, 5 exponent, 10 fraction; to the nearest, ties to even.
function toHalf(x) {
  const sign = Object.is(x, -0) || x < 0 ? 0x8000 : 0, a = Math.abs(x);
  if (!(a < 65520)) return sign + (a >= 65520 ? 0x7c00 : 0x7e00);
  let e = -14;
  while (a >= 2 ** (e + 1)) e++;
  const n = a / 2 ** (e - 10), low = Math.floor(n), rest = n - low;
  return sign + ((e + 14) << 10) + low + Number(rest > 0.5 || rest === 0.5 && low % 2 === 1);
}
function fromHalf(h) {
  const e = h >> 10 & 31, f = h & 1023, sign = h & 0x8000 ? -1 : 1;
  if (e === 31) return f ? NaN : sign * Infinity;
  return sign * (e ? (1024 + f) * 2 ** (e - 25) : f * 2 ** -24);
}

const toHex = n => n.toString(16).padStart(16, '0');
const fnv = bytes => bytes.reduce(
  (h, x) => (h ^ BigInt(x)) * 0x100000001b3n & M64, 0xcbf29ce484222325n);
const littleEndian = bytes => bytes.reduceRight((n, x) => n << 8n | BigInt(x), 0n);
const words = bytes => range(Math.ceil(bytes.length / 8)).map(
  i => littleEndian(bytes.slice(8 * i, 8 * i + 8)));

// SipHash-2-4 with the key 0.
function sipHash(bytes) {
  const turn = (x, n) => (x << n | x >> 64n - n) & M64, full = bytes.length - bytes.length % 8;
  let a = 0x736f6d6570736575n, b = 0x646f72616e646f6dn;
  let c = 0x6c7967656e657261n, d = 0x7465646279746573n;
  const rounds = n => { for (; n > 0; n--) {
    a = a + b & M64; b = turn(b, 13n) ^ a; a = turn(a, 32n);
    c = c + d & M64; d = turn(d, 16n) ^ c;
    a = a + d & M64; d = turn(d, 21n) ^ a;
    c = c + b & M64; b = turn(b, 17n) ^ c; c = turn(c, 32n);
  } };
  const last = BigInt(bytes.length & 255) << 56n | littleEndian(bytes.slice(full));
  for (const m of [...words(bytes.slice(0, full)), last]) { d ^= m; rounds(2); a ^= m; }
  c ^= 0xffn;
  rounds(4);
  return a ^ b ^ c ^ d;
}

function checksum(bytes) {                       // of a bank
  const all = [...words([...bytes]), ...bytes.length % 8 ? [] : [0n], BigInt(bytes.length)];
  return all.reduce((h, x) => {
    const y = (h ^ x) * 0x9e3779b97f4a7c15n & M64;
    return y ^ y >> 29n;
  }, 0n);
}

const BYTES = { F32: 4, F64: 8, F16: 2, U8: 1 };
const HOW = { F32: 'FloatLE', F64: 'DoubleLE', F16: 'UInt16LE', U8: 'UInt8' };
function toBytes(v, dtype) {
  const out = Buffer.alloc(v.length * BYTES[dtype]);
  v.forEach((x, i) => out[`write${HOW[dtype]}`](dtype === 'F16' ? toHalf(x) : x, i * BYTES[dtype]));
  return out;
}

// The header of a safetensors file. tensors: { name, dtype, shape, bytes: how many }.
function header(meta, tensors) {
  const from = starts(tensors.map(t => t.bytes)), json = { __metadata__: meta };
  tensors.forEach(({ name, dtype, shape, bytes }, i) => {
    json[name] = { dtype, shape, data_offsets: [from[i], from[i] + bytes] };
  });
  return JSON.stringify(json).replaceAll('\\n', '\\u000a');
}

// tensors: { name, dtype, shape, data }. room: the least length of the header.
function writeTensors(meta, tensors, room = 0) {
  const text = Buffer.from(header(meta, tensors.map(t => ({ ...t, bytes: t.data.length }))));
  const length = Math.ceil((Math.max(room, text.length) + 8) / 64) * 64 - 8, N = Buffer.alloc(8);
  N.writeBigUInt64LE(BigInt(length));
  const blanks = Buffer.alloc(length - text.length, ' ');
  return Buffer.concat([N, text, blanks, ...tensors.map(t => t.data)]);
}

// A safetensors file -> its metadata and its tensors by name: { shape, v }.
function readTensors(bytes) {
  const base = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: meta = {}, ...entries } = JSON.parse(bytes.toString('utf8', 8, base));
  const tensors = mapped(entries, ({ dtype, shape, data_offsets: [from, to] }) => {
    const n = BYTES[dtype], how = `read${HOW[dtype]}`;
    return { shape, v: range((to - from) / n).map(i => bytes[how](base + from + i * n)) };
  });
  return { meta, tensors };
}

function modelOf({ meta, tensors }) {
  const M = { w: mapped(tensors, t => tensor(t.shape, t.v, true)) };
  for (const key of SIZES) M[key] = Number(meta[key] ?? 0);
  return M;
}
function fingerprint(M) {
  const sizes = SIZES.map(key => M[key]).filter(x => x !== 0);
  const own = Object.keys(M.w).filter(name => !name.startsWith('gate.'));
  const bytes = own.flatMap(name => [...toBytes(M.w[name].v, 'F32')]);
  return fnv([...sizes.flatMap(x => [...new Uint8Array(Uint32Array.of(x).buffer)]), ...bytes]);
}
function modelFile(M, merges) {
  const sizes = SIZES.filter(key => M[key]).map(key => [key, String(M[key])]);
  const tokenizer = merges.map(([a, b]) => `${a} ${b}\n`).join('');
  const weights = Object.entries(M.w).map(([name, { shape, v }]) => (
    { name, dtype: 'F32', shape, data: toBytes(v, 'F32') }));
  return writeTensors({ format: 'mac-model-2', ...Object.fromEntries(sizes), tokenizer }, weights);
}

// Learns documents { id, title, text: bytes; phi: numbers }, forgets ids, and makes the file.
function bankFile(docs, forget, { T, d, half, model, tokens }) {
  const keys = docs.map(doc => toHex(sipHash(doc.text))), dtype = half ? 'F16' : 'F32';
  const added = keys.map((key, i) => Number(keys.indexOf(key) === i));
  const kept = docs.map((x, i) => ({ ...x, key: Buffer.from(keys[i]) })).filter(
    (x, i) => added[i] && !forget.some(id => String(id) === String(x.id)));
  const phi = toBytes(kept.flatMap(x => x.phi), dtype);
  const entries = Buffer.from(kept.flatMap(x => [...x.id, 0, ...x.title, 0, ...x.key, 0]));
  const meta = { format: 'mac-bank', model: toHex(model), tokens: toHex(tokens), hash: 'siphash' };
  if (!tokens) delete meta.tokens;
  meta.sum = toHex(checksum(Buffer.concat([phi, entries])));
  const tensors = (K, E) => [
    { name: 'phi', dtype, shape: [K, T, d], data: phi, bytes: K * T * d * BYTES[dtype] },
    { name: 'entries', dtype: 'U8', shape: [E], data: entries, bytes: E }];
  const room = header(meta, tensors(2147483647, 2147483647)).length;
  return { added, file: writeTensors(meta, tensors(kept.length, entries.length), room) };
}


// ---- The cases of the vector files ----------------------------------------------------------

const split = (ids, n) => starts(n).map((first, b) => ids.slice(first, first + n[b]));
const zeroEnded = list => {                      // texts of bytes, each ended by a 0
  const ends = range(list.length).filter(i => list[i] === 0);
  return ends.map((end, i) => list.slice(i ? ends[i - 1] + 1 : 0, end));
};
const toBig = v => [...v].reduceRight((n, x) => n << 16n | BigInt(x), 0n);  // 4 numbers: 64 bits
const fromBig = n => [0n, 16n, 32n, 48n].map(shift => Number(n >> shift & 0xffffn));
const lengths = list => list.map(x => x.length);
const padded = (ids, most) => [...ids, ...Array(most - ids.length).fill(-1)];
const textOf = l => l.text.slice(0, -1);         // may have zeros of its own
const mergesOf = l => range(l.merges.length / 2).map(i => l.merges.slice(2 * i, 2 * i + 2));
const float32 = (low, high) => new Float32Array(Uint32Array.of(high * 65536 + low).buffer)[0];
const bitsOf = x => [...new Uint16Array(Float32Array.of(x).buffer)];

function askedLoss(M, { texts: { ids }, l, t, n }) {
  const asked = l.asked ? split(l.asked, l.ids_n) : ids.map(list => list.map(() => 1));
  return lmLoss(M, ids, asked, { docs: l.ids_doc, prefix: t.prefix, alike: n.alike });
}
function oneStep({ t, n }, muon) {
  const part = { w: t.w.v, mean: t.mean.v, square: t.square?.v, g: t.g.v, shape: t.w.shape, muon };
  const out = { norm: [step([part], n.lr, n, n.steps_before + 1)], w_next: t.w, mean_next: t.mean };
  return muon ? out : { ...out, square_next: t.square };
}
function manySteps({ t, n }) {
  const W = moments(t.W.v, null, t.W.shape, n.momentum > 0), b = moments(t.b.v, null, t.b.shape);
  const out = { rate: [], norm: [], W_next: W.w, W_mean: W.mean };
  Object.assign(out, { b_next: b.w, b_mean: b.mean, b_square: b.square });
  const row = (v, i, size) => v.slice(i * size, (i + 1) * size);
  for (let i = 0, t1 = 1; i < t.gW.shape[0]; i++) {
    W.g = row(t.gW.v, i, W.w.length);
    b.g = row(t.gb.v, i, b.w.length);
    out.rate.push(rateOf(i, n));
    out.norm.push(step([W, b], out.rate[i], n, t1));
    if (Number.isFinite(out.norm[i])) t1++;
  }
  return W.muon ? out : { ...out, W_square: W.square };
}
function started({ l, n }) {
  const M = newModel(l.sizes, toBig(l.seed));
  if (n.sharp) sharedStart(M, n.sharp);
  return M;
}
function batchCase({ bytes: { titles, texts, q, a }, l, n }) {
  const { S, docs, questions, group, drop, batch_lm } = n;
  const c = { titles, texts, q, a, doc: l.doc, state: toBig(l.state),
    S, docs, questions, group, drop, batch_lm };
  const { random, ...out } = (batch_lm > 0 ? lmBatch : macBatch)(c);
  for (const name of ['read', 'read_q', 'read_qa']) if (out[name]) {
    out[`${name}_n`] = lengths(out[name]);
    out[name] = out[name].flat();
  }
  return { ...out, state_next: fromBig(random.state) };
}
function answerCase(M, { t, n, texts }) {
  const bank = t.phi ? constant(t.phi) : tensor([0, M.d]);
  if (n.half) bank.v = bank.v.map(x => fromHalf(toHalf(x)));
  const { answers, prefix, received, sure, threshold } = answer(M, texts.q, bank, texts.context, n);
  const out = { answers: answers.flatMap(ids => padded(ids, n.most)) };
  if (prefix) out.prefix = prefix;
  if (prefix && t.phi && !n.hierarchy) out.received = received.flat();
  return n.sure ? { ...out, sure_of: sure, threshold: [threshold] } : out;
}
function bankCase({ bytes, t, l, n }) {
  const phi = k => [...t.phi.v.slice(k * n.T * width(t.phi), (k + 1) * n.T * width(t.phi))];
  const docs = bytes.ids.map((id, k) => (
    { id, title: bytes.titles[k], text: bytes.texts[k], phi: phi(k) }));
  const o = { T: n.T, d: width(t.phi), half: n.half };
  Object.assign(o, { model: toBig(l.model), tokens: toBig(l.tokens) });
  const { added, file } = bankFile(docs, bytes.forget ?? [], o);
  return { added, [n.half ? 'file' : 'bits_file']: [...file] };
}
function trainCase(M, c) {
  const lm = Boolean(c.l.ids), lossOf = M => lm ? askedLoss(M, c) : macLoss(M, c).loss;
  const { losses, norms, first, M: last } = train(M, lm, lossOf, c.n);
  const [bits_start, bits_end] = [first, last].map(M => fromBig(fingerprint(M)));
  return { losses, norms, bits_start, bits_end };
}

// A case c gives its inputs by name: t tensors, n numbers (0 if absent), l lists, texts of tokens,
// bytes of text. Each kind makes the outputs, by their names.
const kinds = {
  linear: ({ t, n }) => ({ y: linear(t.x, t.W, t.b, n.in_out === 1) }),
  add: ({ t, n }) => ({ y: add(t.a, t.b, n.scale) }),
  rows: ({ t, l }) => ({ y: rows(t.b ? stack([t.a, t.b]) : t.a, l.idx) }),
  cols: ({ t, n }) => ({ y: cols(t.x, n.first, n.n) }),
  layernorm: ({ t }) => ({ y: norm(t.x, t.g, t.b) }),
  rmsnorm: ({ t }) => ({ y: norm(t.x, t.g) }),
  relu: ({ t }) => ({ y: relu(t.x) }),
  tanh: ({ t }) => ({ y: tanh(t.x) }),
  gelu_tanh: ({ t }) => ({ y: geluTanh(t.x) }),
  gelu_erf: ({ t }) => ({ y: geluErf(t.x) }),
  softmax: ({ t }) => ({ y: softmax(t.x) }),
  cross_entropy: ({ t, l }) => ({ loss: crossEntropy(t.x, l.target, l.w) }),
  neglog: ({ t }) => ({ loss: negLog(t.x) }),
  square_error: ({ t }) => ({ loss: squareError(t.x, t.y) }),
  attention: ({ t, n, l: { q0, qn, k0, kn, t0, tn } }) => {
    const o = { H: n.H, scale: n.scale, causal: n.causal === 1, bias: t.bias };
    const { y, mass } = attention(t.q, t.k, t.v, { ...o, q0, qn, k0, kn, t0, tn });
    return t0 ? { y, mass } : { y };
  },
  lm: ({ t, l, texts }, M) => {
    const at = lmPositions(M, texts.ids, l.ids_doc), hidden = lmHidden(M, texts.ids, at, t.prefix);
    return { hidden, logits: lmLogits(M, hidden) };
  },
  enc: ({ n, texts }, M) => {
    const E = n.question === 1 ? 'aggregator.question_encoder.' : 'enc_decoder.';
    return { y: t5(M, E, texts.ids, n.pad) };
  },
  encode: ({ n, texts }, M) => ({ phi: encodeDocuments(M, texts.docs, n.pad) }),
  aggregate: ({ t, l, texts }, M) => {
    const reads = { doc0: l.doc0, n: l.n_docs, gold: l.gold };
    const { y, blocks } = aggregate(M, encodeQuestions(M, texts.q), t.phi, reads);
    return { y, ...Object.fromEntries(blocks.map((b, i) => [`mass.${i}`, b.mass])) };
  },
  expand: ({ t }, M) => ({ prefix: expand(M, t.phi) }),
  lm_loss: (c, M) => ({ loss: askedLoss(M, c) }),
  loss: (c, M) => macLoss(M, c),
  muon: c => oneStep(c, true),
  adam: c => oneStep(c, false),
  rate: ({ n }) => ({ rate: range(n.n).map(i => rateOf(i, n)) }),
  steps: c => manySteps(c),
  random: ({ l, n }) => {
    const of = f => {
      const random = { state: toBig(l.seed) };
      return range(n.n).flatMap(() => f(random));
    };
    return { next: of(x => fromBig(next(x))), uniform: of(uniform), normal: of(normal),
      whole: of(x => whole(x, n.below)) };
  },
  batch: c => batchCase(c),
  start: c => started(c).w,
  merges: ({ bytes, n }) => ({ merges: learnMerges(bytes.texts, n.vocab).flat() }),
  tokens: ({ l }) => {
    const merges = mergesOf(l), ids = encode(merges, textOf(l));
    return { ids, back: ids.flatMap(id => spell(merges, id)) };
  },
  prompt: ({ l, n }) => {
    const { ids, cut } = prompt(mergesOf(l), textOf(l), n.what, n.most);
    return { ids: padded(ids, n.most), cut: [cut] };
  },
  answer: (c, M) => answerCase(M, c),
  versions: ({ t }, M) => ({ ratio: versions(frozen(M), t.phi, t.bank) }),
  gate: ({ texts, l }, M) => {
    const { vectors, strangers, fit } = makeGate(M, texts.strangers, texts.docs, texts.q, l.doc);
    return { 'gate.vectors': vectors, 'gate.strangers': strangers, 'gate.fit': fit };
  },
  half: ({ l }) => {
    const half = range(l.x.length / 2).map(i => toHalf(float32(l.x[2 * i], l.x[2 * i + 1])));
    return { half, back: half.flatMap(h => bitsOf(fromHalf(h))) };
  },
  hash: ({ l }) => ({ fnv: fromBig(fnv(textOf(l))), siphash: fromBig(sipHash(textOf(l))) }),
  fingerprint: (_, M) => ({ fingerprint: fromBig(fingerprint(M)) }),
  bank: c => bankCase(c),
  model_file: c => ({ bits_file: [...modelFile(started(c), mergesOf(c.l))] }),
  training: (c, M) => trainCase(M, c),
};
const LEVELS = ['', 'ops', 'parts', 'loss', 'optimizer', 'random', 'text', 'answers', 'files',
  'training'];
// The kinds of a level follow one another, and these are the first of each.
const FIRST = ['linear', 'lm', 'lm_loss', 'muon', 'random', 'merges', 'answer', 'half', 'training'];
const placeOf = kind => Object.keys(kinds).indexOf(kind);
const levelOf = kind => FIRST.filter(first => placeOf(first) <= placeOf(kind)).length;

// Runs a case, file: { name: { shape, v } }. Returns outputs and gradients by name, as far as they
// are wanted (or all parameters' gradients), and the names of what was read.
function runCase(kind, file, M, wants) {
  const used = new Set(), made = {}, found = {};
  const by = f => new Proxy({}, { get: (_, name) => f(name) });
  const list = name => { used.add(name); return file[name]?.v; };
  const t = by(name => list(name) && (
    made[name] ??= tensor(file[name].shape, file[name].v, wants(`d${name}`))));
  const texts = by(name => list(name) && split(list(name), list(`${name}_n`)));
  const bytes = by(name => list(name) && zeroEnded(list(name)));
  const n = by(name => list(name)?.[0] ?? 0);
  for (const w of Object.values(M?.w ?? {})) w.g.fill(0);
  for (const [name, y] of Object.entries(kinds[kind]({ t, n, l: by(list), texts, bytes }, M))) {
    found[name] = y.v ?? y;
    list(`d${name}`)?.forEach((d, i) => { y.g[i] += d; });
  }
  backward();
  for (const [name, x] of Object.entries(made)) if (x.g) found[`d${name}`] = x.g;
  for (const [name, w] of Object.entries(M?.w ?? {})) found[`d.${name}`] = w.g;
  return { found, used };
}

// The error of one tensor: the largest |mine - right| over the largest |right|, or `least`. Exact:
// whole numbers must be equal.
function errorOf(mine, right, least, exact) {
  if (!mine || mine.length !== right.length) return Infinity;
  const off = size(right.map((x, i) => mine[i] - x)), all = Math.max(size(right), least);
  if (off === 0) return 0;
  const error = exact && right.every(Number.isInteger) ? Infinity : off / all;
  return error >= 0 ? error : Infinity;          // NaN too
}

// The worst error of a case, the tensor that has it, and whether all bits are those of the file.
function checkCase(kind, file, M) {
  const exact = levelOf(kind) > 4 && levelOf(kind) < 9;
  const { found, used } = runCase(kind, file, M, name => name in file);
  const isGradient = name => name.startsWith('d.') || name.slice(1) in file;
  const outputs = Object.keys(file).filter(name => !used.has(name));
  const least = 1e-6 * Math.max(...outputs.filter(isGradient).map(name => size(file[name].v)), 0);
  const worst = { error: 0, name: '', equal: true };
  const note = (name, error) => {
    if (error > 0) worst.equal = false;
    const counts = kind !== 'training' || !name.startsWith('bits_');
    if (counts && error > worst.error) Object.assign(worst, { error, name });
  };
  for (const name of outputs) {
    note(name, errorOf(found[name], file[name].v, isGradient(name) ? least : 0, exact));
  }
  for (const [name, g] of Object.entries(found)) if (!(name in file) && !name.startsWith('bits_')) {
    note(name, name.startsWith('d.') && size(g) === 0 ? 0 : Infinity);
  }
  return worst;
}

// The cases of a file of vectors, by kind/case: their tensors by name.
function casesOf(file) {
  const { meta, tensors } = readTensors(fs.readFileSync(file)), cases = {};
  for (const [full, t] of Object.entries(tensors)) {
    const [kind, name, ...rest] = full.split('/');
    (cases[`${kind}/${name}`] ??= {})[rest.join('/')] = t;
  }
  return { meta, cases };
}

function checkAll(folder) {
  const levels = [], tolerance = FLOAT ? 1e-5 : 6e-8, at = name => path.join(folder, name);
  const bits = FLOAT ? casesOf(at('bits.safetensors')).cases : {};
  for (const file of fs.readdirSync(folder).filter(f => f.endsWith('.safetensors')).sort()) {
    const { meta, cases } = casesOf(at(file));
    if (meta.format !== 'mac-vectors' || file === 'bits.safetensors') continue;
    const M = meta.model ? modelOf(readTensors(fs.readFileSync(at(meta.model)))) : null;
    for (const [title, inside] of Object.entries(cases)) {
      const kind = title.split('/')[0], none = { cases: 0, worst: 0, equal: 0 };
      const row = levels[levelOf(kind)] ??= none;
      const { error, name, equal } = checkCase(kind, { ...inside, ...bits[title] }, M);
      row.cases++;
      row.equal += Number(equal);
      row.worst = Math.max(row.worst, error);
      if (error > tolerance) row.failed ??= `${file} ${title}/${name} ${error}`;
    }
  }
  console.log(`level        cases${FLOAT ? '  same bits' : ''}  worst error  first that fails`);
  levels.forEach((row, i) => console.log(`${i} ${LEVELS[i]}`.padEnd(12),
    String(row.cases).padStart(5) + (FLOAT ? String(row.equal).padStart(11) : ''),
    row.worst.toExponential(1).padStart(12), '', row.failed ?? '-'));
  process.exitCode = levels.some(row => row.failed) || !levels.length ? 1 : 0;
}

// One case from standard input, as tests/vectors/CONFORM.md says it.
function conform() {
  const { meta, tensors } = readTensors(fs.readFileSync(0));
  if (!kinds[meta.kind]) throw new Error(`no kind ${meta.kind}`);
  const isWeight = name => /^(base_lm|enc_decoder|aggregator|mlps|token_SA|gate)\./.test(name);
  const weights = Object.entries(tensors).filter(([name]) => isWeight(name));
  const M = meta.V ? modelOf({ meta, tensors: Object.fromEntries(weights) }) : null;
  const wanted = meta.wanted.split(' ').map(x => x.split(':'));
  const { found } = runCase(meta.kind, tensors, M, name => wanted.some(x => x[0] === name));
  const dtype = FLOAT ? 'F32' : 'F64', shape = sizes => sizes ? sizes.split(',').map(Number) : [];
  const sure = name => !name.startsWith('bits_') || FLOAT && meta.kind !== 'training';
  const given = wanted.filter(([name]) => name in found && sure(name)).map(([name, sizes]) => (
    { name, dtype, shape: shape(sizes), data: toBytes(found[name], dtype) }));
  fs.writeFileSync(1, writeTensors({}, given));
}

export function main(words) {
  if (words.includes('--conform')) conform();
  else checkAll(words.find(word => !word.startsWith('--')) ?? 'tests/vectors');
}
