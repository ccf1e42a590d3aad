// MAC (Memory of Amortized Contexts) in plain JavaScript, written from tests/vectors/README.md
// ("the page") alone. The tags E1 to E5, the levels and [bits] are the page's.
//
//     node port.mjs FOLDER            checks itself against the vector files, in 64 bits
//     node port.mjs --float FOLDER    the same in 32 bits, and how many cases have the same bits
//     node port.mjs --conform         one case from stdin, its outputs to stdout
//
// Text, files and the cases are in port_cases.mjs, all else is here.
const FLOAT = process.argv.includes('--float');
const Real = FLOAT ? Float32Array : Float64Array;
const r = FLOAT ? Math.fround : x => x;          // rounds each product and each sum

// A tensor: its shape, its numbers v, row-major, and their gradient g; a constant has none.
function tensor(shape, v = null, trained = false) {
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, v: v ? Real.from(v) : new Real(size), g: trained ? new Real(size) : null };
}
const width = x => x.shape.at(-1);
const height = x => width(x) ? x.v.length / width(x) : x.shape[0];
const constant = x => tensor(x.shape, x.v);
const range = (n, first = 0) => Array.from({ length: n }, (_, i) => first + i);
const starts = lengths => { let s = 0; return lengths.map(n => (s += n) - n); };
const div = (i, n) => Math.floor(i / n);
const largest = v => v.reduce((a, b) => b <= a || a !== a ? a : b, -Infinity);  // NaN if one is
const size = v => Math.max(0, largest(v.map(Math.abs)));
const mapped = (object, f) => Object.fromEntries(
  Object.entries(object).map(([key, x]) => [key, f(x, key)]));

// [bits] A row's sum: term i goes to partial sum i % 16, and these are added in a tree.
function sum(v) {
  const s = new Real(16);
  v.forEach((x, i) => { s[i % 16] += x; });
  for (let n = 8; n >= 1; n /= 2) for (let l = 0; l < n; l++) s[l] += s[l + n];
  return s[0];
}
const square = v => sum(v.map(x => x * x));

// Y [R,C] + A [R,n] times the transpose of B [C,n]. [bits] The products are added in order.
function addProduct(Y, A, B, n) {
  const C = B.length / n;
  return Y.map((s, i) => {
    for (let k = 0, a = div(i, C) * n, b = i % C * n; k < n; k++) s = r(s + r(A[a + k] * B[b + k]));
    return s;
  });
}
const transpose = (X, R, C) => X.map((_, i) => X[(i % R) * C + div(i, R)]);

// erf x = 2/sqrt(pi) e^(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...): no term cancels another.
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, s = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(s); n++) s += term *= 2 * x * x / (2 * n + 1);
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * s;
}

// [bits] log x = k log 2 + log m, x = 2^k m with m from root(1/2) to root(2).
function log32(x) {
  const k = (new Int32Array(Float32Array.of(x).buffer)[0] - 0x3f3504f3) >> 23, m = x / 2 ** k;
  const s = r(r(m - 1) / r(m + 1)), z = r(s * s);
  const p = [11, 9, 7, 5, 3].reduce((p, n) => r(r(p + r(1 / n)) * z), 0);
  const low = r(r(2 * s * p) + r(k * r(0x17f7d1c / 2 ** 44)));
  return r(r(k * (0x162e4 / 2 ** 17)) + r(2 * s + low));
}

// [bits] cos x, or sin x where turn is 0: x less k quarters of a circle, then a power series.
function cos32(x, turn = 1) {
  const k = r(r(x * r(0.63661977)) + 12582912) - 12582912;
  const parts = [0x192 / 2 ** 8, 0x1fb4 / 2 ** 24, r(0x14442d18 / 2 ** 52)];
  const a = parts.reduce((a, part) => r(a - r(k * part)), x), z = r(a * a), odd = (k + turn) & 1;
  let s = 0, f = 1;
  const inverse = range(12).map(i => r(1 / (f *= i || 1)));            // of i!
  for (let i = 5; i >= 0; i--) s = r(inverse[2 * i + 1 - odd] - r(s * z));
  return ((k + turn) & 2 ? -1 : 1) * (odd ? s : r(s * a));
}
const [log, cos, sin] = FLOAT ? [log32, cos32, x => cos32(x, 0)] : [Math.log, Math.cos, Math.sin];

// ---- The tape -------------------------------------------------------------------------------

// Every op computes its output y and leaves a function on the tape. This adds to the gradients
// of the inputs what dy, the gradient of y, brings; backward() calls all of them, last first.
let tape = [];

function node(shape, inputs, back) {
  const y = tensor(shape, null, inputs.some(x => x.g));
  if (y.g) tape.push(() => back(y.g));
  return y;
}
function backward() {
  for (const back of tape.reverse()) back();
  tape = [];
}
const into = x => x.g ?? new Real(x.v.length);   // the gradient of a constant is lost

// ---- Level 1: ops. The first six have gradients, all others are made of these ----------------

// y of this shape: number i is number at(i) of x, and 0 where at(i) is -1.
function pick(shape, x, at) {
  const y = node(shape, [x], dy => dy.forEach((d, i) => { x.g[at(i)] += d; }));
  y.v.forEach((_, i) => { y.v[i] = x.v[at(i)] ?? 0; });
  return y;
}

// The rows of tensors of one width, one below the other.
function stack(parts) {
  const from = starts(parts.map(x => x.v.length));
  const y = node([parts.reduce((n, x) => n + height(x), 0), width(parts[0])], parts, dy => {
    parts.forEach((x, p) => x.g?.forEach((_, i) => { x.g[i] += dy[from[p] + i]; }));
  });
  parts.forEach((x, p) => y.v.set(x.v, from[p]));
  return y;
}

// y = f(a, b) of each two numbers; da and db are its derivatives.
function both(a, b, f, da, db) {
  const y = node(a.shape, [a, b], dy => dy.forEach((d, i) => {
    if (a.g) a.g[i] += r(d * da(a.v[i], b.v[i]));
    if (b.g) b.g[i] += r(d * db(a.v[i], b.v[i]));
  }));
  y.v.forEach((_, i) => { y.v[i] = f(a.v[i], b.v[i]); });
  return y;
}
const add = (a, b, scale = 1) => both(a, b, (x, z) => x + r(scale * z), () => 1, () => scale);
const mul = (a, b) => both(a, b, (x, z) => x * z, (x, z) => z, x => x);

// y = f(x) of each number; slope is the derivative of f.
function each(x, f, slope) {
  const y = node(x.shape, [x], dy => dy.forEach((d, i) => { x.g[i] += r(d * r(slope(x.v[i]))); }));
  y.v.forEach((_, i) => { y.v[i] = f(x.v[i]); });
  return y;
}

// [R,C] -> [R,1], the sum of each row.
function rowSum(x) {
  const C = width(x);
  const y = node([height(x), 1], [x], dy => x.g.forEach((_, i) => { x.g[i] += dy[div(i, C)]; }));
  y.v.forEach((_, i) => { y.v[i] = sum(x.v.subarray(i * C, (i + 1) * C)); });
  return y;
}

// a [R,n] times the transpose of b [C,n].
function matmul(a, b) {
  const R = height(a), C = height(b), n = width(a);
  const y = node([R, C], [a, b], dy => {
    const da = into(a), db = into(b);
    dy.forEach((d, i) => {
      for (let k = 0, ai = div(i, C) * n, bi = i % C * n; k < n; k++, ai++, bi++) {
        da[ai] += r(d * b.v[bi]);
        db[bi] += r(d * a.v[ai]);
      }
    });
  });
  if (n) y.v = addProduct(y.v, a.v, b.v, n);
  return y;
}

const rows = (x, idx) =>                         // y[i] = x[idx[i]]
  pick([idx.length, width(x)], x, i => idx[div(i, width(x))] * width(x) + i % width(x));
const cols = (x, first, n) => pick([height(x), n], x, i => div(i, n) * width(x) + first + i % n);
const turned = (x, R, C) => pick([C, R], x, i => (i % R) * C + div(i, R));       // the transpose
const spread = (x, C) => pick([x.v.length, C], x, i => div(i, C));                 // [R,1] -> [R,C]
const scaled = (x, s) => each(x, a => s * a, () => s);
const total = x => rowSum(pick([1, x.v.length], x, i => i));

// [d] or [G,d] -> [R,d]: row g serves rows g*R/G to (g+1)*R/G - 1.
const repeated = (x, R, d) => pick([R, d], x, i => div(div(i, d) * x.v.length / d, R) * d + i % d);

// y = x W^T + b: x [R,I], W [O,I], or [I,O] if inOut, b [O] or none. Grouped: W [G,O,I], b [G,O],
// and R/G rows go through each.
function linear(x, W, b, inOut = false) {
  const R = height(x), I = width(x), G = W.shape.length === 3 ? W.shape[0] : 1;
  const O = W.v.length / I / G;
  const y = stack(range(G).map(g => {
    const at = i => g * O * I + (inOut ? (i % I) * O + div(i, I) : i);
    return matmul(rows(x, range(R / G, g * R / G)), pick([O, I], W, at));
  }));
  return b ? add(y, repeated(b, R, O)) : y;
}

// With b a layer norm, y = g z + b, z = (x - mean) / sqrt(variance + 1e-5); without b T5's RMS
// norm, y = g z, z = x / sqrt(mean of x^2 + 1e-6). x [R,d], g and b [d] or [G,d].
function norm(x, g, b) {
  const R = height(x), d = width(x), mean = y => scaled(rowSum(y), 1 / d), eps = b ? 1e-5 : 1e-6;
  const c = b ? add(x, spread(mean(x), d), -1) : x;
  const inverse = each(mean(mul(c, c)), a => 1 / Math.sqrt(a + eps), a => -0.5 * (a + eps) ** -1.5);
  const y = mul(mul(c, spread(inverse, d)), repeated(g, R, d));
  return b ? add(y, repeated(b, R, d)) : y;
}

const ROOT = Math.sqrt(2 / Math.PI);
const bow = x => Math.tanh(ROOT * (x + 0.044715 * x ** 3));
const below = x => (1 + erf(x / Math.SQRT2)) / 2;        // the share of a normal distribution
const relu = x => each(x, a => Math.max(a, 0), a => a > 0 ? 1 : 0);
const tanh = x => each(x, Math.tanh, a => 1 - Math.tanh(a) ** 2);
const geluTanh = x => each(x, a => a / 2 * (1 + bow(a)),
  a => (1 + bow(a)) / 2 + a / 2 * (1 - bow(a) ** 2) * ROOT * (1 + 3 * 0.044715 * a * a));
const geluErf = x => each(x, a => a * below(a),
  a => below(a) + a * Math.exp(-a * a / 2) / Math.sqrt(2 * Math.PI));

// e^(x - top); top is the largest number of each row, a constant [R,1].
function exponentials(x) {
  const C = width(x), top = tensor([height(x), 1]);
  top.v.forEach((_, i) => { top.v[i] = largest(x.v.subarray(i * C, (i + 1) * C)); });
  return { e: each(add(x, spread(top, C), -1), Math.exp, Math.exp), top };
}
const softmax = x => {
  const { e } = exponentials(x);
  return mul(e, spread(each(rowSum(e), a => 1 / a, a => -1 / (a * a)), width(x)));
};

// loss = sum over rows of w[row] (log sum of e^x[row] - x[row,target[row]]).
function crossEntropy(x, target, w = target.map(() => 1 / target.length)) {
  const { e, top } = exponentials(x), R = target.length;
  const logSum = add(each(rowSum(e), Math.log, a => 1 / a), top);
  const right = pick([R, 1], x, i => i * width(x) + target[i]);
  return total(mul(add(logSum, right, -1), tensor([R, 1], w)));
}
const negLog = x => scaled(total(each(x, a => -Math.log(a), a => -1 / a)), 1 / x.v.length);
const sumOfSquares = x => total(mul(x, x));
const squareError = (x, y) =>                    // sum (x - y)^2 / sum y^2, y a constant
  scaled(sumOfSquares(add(x, constant(y), -1)), 1 / square(y.v));

// T5's buckets, as the first distances of each.
const BEFORE = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
const CAUSAL = [...range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
function bucket(query, key, causal) {
  const last = list => list.findLastIndex(first => first <= Math.abs(query - key));
  return causal ? last(CAUSAL) : last(BEFORE) + (key > query ? 16 : 0);
}

// y = softmax(scale q k^T + bias) v for each of H heads, a run of dh columns. For each b, the rows
// q0[b].. +qn[b] of q read the rows k0[b].. +kn[b] of k and v. Causal: query i reads the keys
// j <= i + kn - qn. bias [32,H] or none. t0, tn: mass [Nq,H] is the attention on these keys.
// heads: of each b and head the weights p [qn,kn].
function attention(q, k, v, { H, scale, causal, q0, qn, k0, kn, bias, t0, tn }) {
  const C = width(q), dh = C / H;
  const heads = q0.flatMap((_, b) => range(H).map(h => {
    const part = (x, first, n) => pick([n, dh], x, i => (first + div(i, dh)) * C + h * dh + i % dh);
    const n = kn[b], at = i => div(i, n) + (causal ? n - qn[b] : 0);     // the place of a query
    let s = scaled(matmul(part(q, q0[b], qn[b]), part(k, k0[b], n)), scale);
    if (bias) s = add(s, pick(s.shape, bias, i => bucket(at(i), i % n, causal) * H + h));
    if (causal) s = add(s, tensor(s.shape, s.v.map((_, i) => i % n > at(i) ? -Infinity : 0)));
    const p = softmax(s), y = matmul(p, turned(part(v, k0[b], n), n, dh));
    const asked = j => Number(j >= t0[b] && j < t0[b] + tn[b]);
    const mass = t0 && rowSum(mul(p, tensor(p.shape, p.v.map((_, i) => asked(k0[b] + i % n)))));
    return { h, p, y, mass };
  }));
  const owner = row => q0.findIndex((first, b) => row >= first && row < first + qn[b]);
  const joined = (key, w) => {                   // w columns of each head, side by side
    const parts = heads.map(x => x[key]), from = starts(parts.map(x => x.v.length));
    return pick([height(q), H * w], stack(parts), i => {
      const row = div(i, H * w), b = owner(row);
      return b < 0 ? -1 : from[b * H + div(i, w) % H] + (row - q0[b]) * w + i % w;
    });
  };
  return { y: joined('y', dh), mass: t0 && joined('mass', 1), heads };
}

// ---- Level 2: parts of the model ------------------------------------------------------------

// A model M has the sizes V, S, d, ... and w, its tensors by their official names. Texts are lists
// of token ids. A layer's name is that of its tensors without `.weight` and `.bias`.
function weight(M, name) {
  if (!M.w[name]) throw new Error(`the model has no ${name}`);
  return M.w[name];
}
const affine = (M, name, x, inOut) =>
  linear(x, weight(M, `${name}.weight`), M.w[`${name}.bias`], inOut);
const normed = (M, name, x) => norm(x, weight(M, `${name}.weight`), M.w[`${name}.bias`]);

// [E1] y + Attn(z q, from k, from v) o with z = RMS(y); without `from` z attends to itself.
function t5Attention(M, layer, y, from, o) {
  const z = normed(M, `${layer}.layer_norm`, y), source = from ?? z;
  const name = `${layer}.${from ? 'EncDecAttention' : 'SelfAttention'}`;
  const [q, k, v] = ['q', 'k', 'v'].map(x => affine(M, `${name}.${x}`, x === 'q' ? z : source));
  return add(y, affine(M, `${name}.o`, attention(q, k, v, { ...o, H: M.enc_H, scale: 1 }).y));
}

// [E1] y + relu(z wi) wo with z = RMS(y).
function t5FeedForward(M, layer, y) {
  const z = normed(M, `${layer}.layer_norm`, y), name = `${layer}.DenseReluDense`;
  return add(y, affine(M, `${name}.wo`, relu(affine(M, `${name}.wi`, z))));
}

// [E1] B texts -> the decoder's states y [B*T,e]. With `pad` each text is filled up with token 0.
function t5(M, E, texts, pad = 0) {
  const B = texts.length, T = M.T, own = texts.map(t => t.length);
  const full = own.map(n => Math.max(n, pad)), first = starts(full);
  const table = 'block.0.layer.0.SelfAttention.relative_attention_bias.weight';
  const read = { q0: first, qn: full, k0: first, kn: own, bias: weight(M, `${E}encoder.${table}`) };
  const mine = { q0: range(B).map(b => b * T), qn: Array(B).fill(T) };
  const bias = weight(M, `${E}decoder.${table}`), cross = { ...mine, k0: first, kn: full };
  const self = { ...mine, k0: mine.q0, kn: mine.qn, causal: true, bias };
  const ids = texts.flatMap((t, b) => [...t, ...Array(full[b] - own[b]).fill(0)]);
  let h = rows(weight(M, `${E}shared.weight`), ids);
  for (const layer of range(M.enc_L).map(l => `${E}encoder.block.${l}.layer`)) {
    h = t5Attention(M, `${layer}.0`, h, null, read);
    h = t5FeedForward(M, `${layer}.1`, h);
  }
  h = normed(M, `${E}encoder.final_layer_norm`, h);
  let y = rows(weight(M, `${E}learnable_prompts`), range(B * T).map(i => i % T));     // [1,T,e]
  for (const layer of range(M.enc_L).map(l => `${E}decoder.block.${l}.layer`)) {
    y = t5Attention(M, `${layer}.0`, y, null, self);
    y = t5Attention(M, `${layer}.1`, y, h, cross);
    y = t5FeedForward(M, `${layer}.2`, y);
  }
  return normed(M, `${E}decoder.final_layer_norm`, y);
}

// y [B*T,e] -> phi [B*T,d]. State t goes through network t: skip(x) + W2 tanh(W1 LN(x)).
function stateMlps(M, name, y) {
  const T = M.T, B = height(y) / T;
  const states = range(T).map(t => {
    const x = rows(y, range(B).map(b => b * T + t)), net = `${name}.${t}`;
    const z = affine(M, `${net}.mlp.1`, normed(M, `${net}.mlp.0`, x));
    return add(M.w[`${net}.skip.weight`] ? affine(M, `${net}.skip`, x) : x,
      affine(M, `${net}.mlp.3`, tanh(z)));
  });
  return rows(stack(states), range(B * T).map(i => (i % T) * B + div(i, T)));
}
const encodeDocuments = (M, texts, pad) =>
  stateMlps(M, 'mlps', t5(M, 'enc_decoder.', texts, pad));
const encodeQuestions = (M, texts, pad) =>
  stateMlps(M, 'aggregator.mlps', t5(M, 'aggregator.question_encoder.', texts, pad));

// [E3] The attention of block i: x [B*rows,d] to phi [K*T,d]; question b reads the documents
// doc0[b].. +n[b], T rows each. mass [B*rows,agg_H] is the attention on document gold[b].
function aggAttention(M, i, x, phi, { doc0, n, gold }) {
  const name = `aggregator.cross_attention_list.${i}`, B = doc0.length, perB = height(x) / B;
  const z = normed(M, `${name}.norm1`, x), c = normed(M, `${name}.norm_context`, phi);
  const [q, k, v] = ['q', 'k', 'v'].map(
    part => affine(M, `${name}.attn.to_${part}`, part === 'q' ? z : c));
  return attention(q, k, v, { H: M.agg_H, scale: 1 / Math.sqrt(M.agg_dh),
    q0: range(B).map(b => b * perB), qn: Array(B).fill(perB), k0: doc0.map(k => k * M.T),
    kn: n.map(k => k * M.T), t0: gold?.map(k => k * M.T), tn: Array(B).fill(M.T) });
}

// [E3] x [B*T,d], the questions, -> phi_star [B*T,d], and the attentions of the blocks.
function aggregate(M, x, phi, reads) {
  const blocks = [];
  for (let i = 0; i < M.agg_B; i++) {
    const name = `aggregator.cross_attention_list.${i}`;
    blocks.push(aggAttention(M, i, x, phi, reads));
    x = add(x, affine(M, `${name}.attn.to_out.0`, blocks[i].y));
    const z = affine(M, `${name}.mlp.net.0`, normed(M, `${name}.norm2`, x));
    x = add(x, affine(M, `${name}.mlp.net.3`, geluErf(z)));
  }
  return { y: x, blocks };
}

// [E4] phi_star [B*T,d] -> prefix [n*B,d]: row j*B + b is place j of question b.
function expand(M, phi) {
  const B = height(phi) / M.T, n = M.P * 2 * M.L;
  const times = t => div(n, M.T) + Number(t < n % M.T);
  const vector = range(M.T).flatMap(t => Array(times(t)).fill(t));     // of each place
  return stack(vector.map((t, j) => {
    const x = rows(phi, range(B).map(b => b * M.T + t)), net = `token_SA.mlp_layers.${j}.net`;
    const z = affine(M, `${net}.1`, normed(M, `${net}.0`, x));
    return add(x, affine(M, `${net}.4`, geluErf(z)));
  }));
}

const LM = 'base_lm.base_lm.transformer.';
const prefixRow = (M, B, b, p, l, w) => (p * 2 * M.L + 2 * l + w) * B + b;

// Where the tokens of each text stand: the first docs[b] of them are a document's.
const lmPositions = (M, texts, docs = []) => texts.map((t, b) => t.map(
  (_, i) => i < (docs[b] ?? 0) ? M.S - docs[b] + i : M.P + i - (docs[b] ?? 0)));

// [E5] B texts -> hidden [N,d]. A prefix [n*B,d] is read by all of a text. What c_attn makes of
// the tokens in each layer, [N,3d], is added to `made`.
function lmHidden(M, texts, positions, prefix, made = []) {
  const d = M.d, P = prefix ? M.P : 0, qn = texts.map(t => t.length), q0 = starts(qn);
  const kn = qn.map(n => n + P), scale = 1 / Math.sqrt(d / M.H);
  const spans = { q0, qn, k0: starts(kn), kn, H: M.H, scale, causal: true };
  let h = add(rows(weight(M, `${LM}wte.weight`), texts.flat()),
    rows(weight(M, `${LM}wpe.weight`), positions.flat()));
  for (let l = 0; l < M.L; l++) {
    const layer = `${LM}h.${l}`;
    made.push(affine(M, `${layer}.attn.c_attn`, normed(M, `${layer}.ln_1`, h), true));
    const [q, k, v] = [0, 1, 2].map(i => cols(made[l], i * d, d));
    const places = (b, w) => range(P).map(p => prefixRow(M, texts.length, b, p, l, w));
    const behind = (x, w) => !prefix ? x : rows(stack([prefix, x]), texts.flatMap(
      (_, b) => [...places(b, w), ...range(qn[b], height(prefix) + q0[b])]));
    const { y } = attention(q, behind(k, 0), behind(v, 1), spans);
    h = add(h, affine(M, `${layer}.attn.c_proj`, y, true));
    const z = affine(M, `${layer}.mlp.c_fc`, normed(M, `${layer}.ln_2`, h), true);
    h = add(h, affine(M, `${layer}.mlp.c_proj`, geluTanh(z), true));
  }
  return normed(M, `${LM}ln_f`, h);
}
const lmLogits = (M, hidden) => linear(hidden, weight(M, `${LM}wte.weight`));

// ---- Level 3: the loss ----------------------------------------------------------------------

// Mean of -log p(token i of text b) where asked[b][i], i > 0; with `alike` the mean over texts of
// their means. What precedes the last token goes through the LM.
function lmLoss(M, texts, asked, { docs, prefix, alike }) {
  const wanted = asked.map(list => list.slice(1)), read = texts.map(t => t.slice(0, -1));
  const counts = wanted.map(list => list.filter(Boolean).length), all = sum(counts);
  const w = wanted.flatMap((list, b) => list.map(
    yes => yes ? 1 / (alike ? counts[b] * texts.length : all) : 0));
  const hidden = lmHidden(M, read, lmPositions(M, read, docs), prefix);
  return crossEntropy(lmLogits(M, hidden), texts.flatMap(t => t.slice(1)), w);
}

// Where the answer stands in the document: the passage that the LM reads for it, or null.
// ids: what it reads; lead: tokens before the answer; n: tokens that have a prefix position.
function passage(M, doc, answer) {
  const fits = t => answer.every((a, i) => doc[t + i] === a);
  const t = answer.length ? range(doc.length).find(fits) : undefined;
  if (t === undefined) return null;
  const lead = Math.min(t, 4), n = Math.min(answer.length + 1, M.P, doc.length - t);
  return { ids: doc.slice(t - lead, t + n), lead, n };
}

// |prefix - target|^2 / |target|^2, the target being the keys and values that the LM makes of the
// answers in their documents. Null if no answer stands in its document.
function distillation(M, prefix, docs, answers) {
  const found = answers.map((a, b) => ({ b, ...passage(M, docs[b], a) })).filter(f => f.ids);
  if (!found.length) return null;
  const made = [], first = starts(found.map(f => f.ids.length)), ours = [], theirs = [];
  const positions = found.map(f => f.ids.map((_, i) => M.S - M.A + i - f.lead));
  lmHidden(M, found.map(f => f.ids), positions, null, made);
  for (let l = M.L > 1 ? 1 : 0; l < M.L; l++) for (const w of [0, 1]) {
    const target = cols(constant(made[l]), (1 + w) * M.d, M.d), B = answers.length;
    theirs.push(rows(target, found.flatMap((f, i) => range(f.n, first[i] + f.lead))));
    ours.push(...found.flatMap(f => range(f.n).map(p => prefixRow(M, B, f.b, p, l, w))));
  }
  return squareError(rows(prefix, ours), stack(theirs));
}

// The finder is row 0 of a question, in the first half, rounded up, of block 0's heads. Its
// attention [B,F] on the right one of all documents:
const finderHeads = M => div(M.agg_H + 1, 2);
function finderMass(M, q, phi, doc) {
  const first = rows(q, doc.map((_, b) => b * M.T));
  const reads = { doc0: doc.map(() => 0), n: doc.map(() => height(phi) / M.T), gold: doc };
  return cols(aggAttention(M, 0, first, phi, reads).mass, 0, finderHeads(M));
}

// The loss of a batch: docs, questions q, qa (question, answer, EOS); doc[b] is b's document.
function macLoss(M, { texts: { docs, q, qa }, l: { doc }, n: o }) {
  const T = M.T, G = docs.length / o.group, kept = o.n_grad * T;
  const trained = encodeDocuments(M, docs, o.pad), rest = height(trained) - kept;
  const phi = stack([rows(trained, range(kept)), rows(constant(trained), range(rest, kept))]);
  // The banks one behind the other: bank g holds the documents i with i mod G = g.
  const order = range(G).flatMap(g => range(o.group).map(i => g + i * G));
  const banks = rows(phi, order.flatMap(i => range(T, i * T)));
  const questions = encodeQuestions(M, q, o.pad);
  const reads = { doc0: doc.map(i => (i % G) * o.group), n: doc.map(() => o.group) };
  const prefix = expand(M, aggregate(M, questions, banks, reads).y);
  const asked = qa.map((t, b) => t.map((_, i) => i >= q[b].length));
  const answer = lmLoss(M, qa, asked, { prefix, alike: o.alike });
  const out = { loss: answer, answer, distance: tensor([1]), mass: tensor([1]) };
  const answers = qa.map((t, b) => t.slice(q[b].length, -1));
  const far = o.distill > 0 && distillation(M, prefix, doc.map(i => docs[i]), answers);
  if (far) { out.distance = far; out.loss = add(out.loss, far, o.distill); }
  if (o.guidance > 0) {
    const mass = finderMass(M, questions, phi, doc);
    out.mass = scaled(total(constant(mass)), 1 / mass.v.length);
    out.loss = add(out.loss, negLog(mass), o.guidance);
  }
  return out;
}

// ---- Level 4: the optimizer -----------------------------------------------------------------

const B1 = r(0.9), B2 = r(0.999), PI = r(Math.PI);

function power(x, n) {                           // [bits] by squaring
  let y = 1;
  for (; n > 0; n = div(n, 2), x = r(x * x)) if (n % 2) y = r(y * x);
  return y;
}

function rateOf(i, { lr, warmup, total, cosine }) {
  if (i < warmup) return r(r(lr * (i + 1)) / warmup);
  if (!cosine || total <= warmup) return lr;
  const done = Math.min(1, r((i - warmup) / (total - warmup)));
  return r(lr * r(r(0.505) + r(r(0.495) * cos(r(PI * done)))));
}

// w, mean, square, g: flat, changed in place. t counts from 1. s scales the gradient.
function adam({ w, mean, square, g }, s, keep, lr, t) {
  const rate = r(lr / r(1 - power(B1, t))), q = r(1 / r(Math.sqrt(r(1 - power(B2, t)))));
  g.forEach((x, i) => {
    const y = r(x * s);
    mean[i] = r(B1 * mean[i]) + r(r(1 - B1) * y);
    square[i] = r(B2 * square[i]) + r(r(1 - B2) * r(y * y));
    const root = r(r(r(Math.sqrt(square[i])) * q) + r(1e-8));
    w[i] = r(w[i] * keep) - r(r(rate * mean[i]) / root);
  });
}

// X [R,C], of size 1, with all its singular values brought near 1.
function evenOut(X, R, C) {
  if (R > C) return transpose(evenOut(transpose(X, R, C), C, R), C, R);
  for (let step = 0; step < 5; step++) {
    const zero = new Real(R * R), A = addProduct(zero, X, X, C), AA = addProduct(zero, A, A, R);
    const S = A.map((a, i) => r(r(-4.7750) * a) + r(r(2.0315) * AA[i]));
    X = addProduct(X.map(x => r(3.4445) * x), S, transpose(X, R, C), R);
  }
  return X;
}

// w, mean, g: flat, [..,R,C], changed in place; each of the [R,C] by itself.
function muon({ w, mean, g, shape }, s, keep, lr, momentum) {
  const [R, C] = shape.slice(-2), rate = r(r(lr * r(0.2)) * r(Math.sqrt(Math.max(R, C))));
  for (let first = 0; first < w.length; first += R * C) {
    const part = v => v.subarray(first, first + R * C), m = part(mean), x = part(w);
    const y = part(g).map(a => a * s);
    y.forEach((a, i) => { m[i] = r(momentum * m[i]) + a; });
    const U = y.map((a, i) => a + r(momentum * m[i])), root = r(Math.sqrt(square(U)));
    const X = evenOut(U.map(u => root > 1e-15 ? u / root : 0), R, C);
    X.forEach((u, i) => { x[i] = r(x[i] * keep) - r(rate * u); });
  }
}

// One step of all `parts` { w, mean, square, g, shape, muon }; returns the norm of all gradients.
// o: momentum, decay, clip. A step whose norm is not finite moves nothing.
function step(parts, lr, o, t) {
  const norm = r(Math.sqrt(parts.reduce((s, { g }) => r(s + square(g)), 0)));
  const s = o.clip > 0 && norm > o.clip ? r(o.clip / norm) : 1, keep = r(1 - r(lr * o.decay));
  if (Number.isFinite(norm)) {
    for (const p of parts) (p.muon ? muon : adam)(p, s, keep, lr, p.muon ? o.momentum : t);
  }
  return norm;
}
const moments = (w, g, shape, isMuon) => (
  { w, g, shape, muon: isMuon, mean: new Real(w.length), square: new Real(w.length) });

// ---- Level 5: random numbers and first weights ----------------------------------------------

const M64 = (1n << 64n) - 1n;
function next(random) {                          // random.state: 64 bits
  random.state = random.state + 0x9e3779b97f4a7c15n & M64;
  let z = random.state;
  z = (z ^ z >> 30n) * 0xbf58476d1ce4e5b9n & M64;
  z = (z ^ z >> 27n) * 0x94d049bb133111ebn & M64;
  return z ^ z >> 31n;
}
const uniform = random => Number(next(random) >> 40n) / 2 ** 24;
const whole = (random, below) => Number((next(random) >> 32n) * BigInt(below) >> 32n);
function normal(random) {
  const u = uniform(random), v = uniform(random);
  return r(r(Math.sqrt(r(-2 * log(r(1 - u))))) * cos(r(r(2 * Math.PI) * v)));
}

const SIZES = ['V', 'S', 'd', 'L', 'H', 'e', 'enc_L', 'enc_H', 'enc_dh', 'enc_ff', 'T', 'P',
  'agg_B', 'agg_H', 'agg_dh', 'pre_ff', 'D', 'Q', 'A'];

// Calls put(name, shape, deviation, fill) for each tensor of a model, in the order of its file.
// What has no deviation is not drawn, but filled.
function layout(M, put) {
  const { V, d, L, e, T } = M, inner = M.enc_H * M.enc_dh, wide = M.agg_H * M.agg_dh;
  const root = Math.sqrt, s = r(0.64 / root(d)), low = r(s / r(root(2 * L)));
  const gain = (name, n) => put(`${name}.weight`, [n], 0, 1);
  const bias = (name, n) => put(`${name}.bias`, [n], 0, 0);
  const layernorm = (name, n) => { gain(name, n); bias(name, n); };
  const conv = (name, I, O, sd) => { put(`${name}.weight`, [I, O], sd); bias(name, O); };
  const matrix = (name, O, I, sd = root(1 / (3 * I))) => put(`${name}.weight`, [O, I], sd);
  const dense = (name, O, I) => { matrix(name, O, I); bias(name, O); };
  put(`${LM}wte.weight`, [V, d], s);
  put(`${LM}wpe.weight`, [M.S, d], s);
  for (const layer of range(L).map(l => `${LM}h.${l}`)) {
    layernorm(`${layer}.ln_1`, d);
    conv(`${layer}.attn.c_attn`, d, 3 * d, s);
    conv(`${layer}.attn.c_proj`, d, d, low);
    layernorm(`${layer}.ln_2`, d);
    conv(`${layer}.mlp.c_fc`, d, 4 * d, s);
    conv(`${layer}.mlp.c_proj`, 4 * d, d, low);
  }
  layernorm(`${LM}ln_f`, d);
  const attend = (layer, kind, hasTable) => {
    const sd = { q: root(1 / (e * M.enc_dh)), k: root(1 / e), v: root(1 / e) };
    for (const x of 'qkv') matrix(`${layer}.${kind}.${x}`, inner, e, sd[x]);
    matrix(`${layer}.${kind}.o`, e, inner, root(1 / inner));
    gain(`${layer}.layer_norm`, e);
    if (hasTable) matrix(`${layer}.${kind}.relative_attention_bias`, 32, M.enc_H, root(1 / e));
  };
  const tower = (name, kinds) => {
    for (const l of range(M.enc_L)) {
      const layer = i => `${name}.block.${l}.layer.${i}`, feed = layer(kinds.length);
      kinds.forEach((kind, i) => attend(layer(i), kind, i + l === 0));
      matrix(`${feed}.DenseReluDense.wi`, M.enc_ff, e, root(1 / e));
      matrix(`${feed}.DenseReluDense.wo`, e, M.enc_ff, root(1 / M.enc_ff));
      gain(`${feed}.layer_norm`, e);
    }
    gain(`${name}.final_layer_norm`, e);
  };
  for (const E of ['enc_decoder.', 'aggregator.question_encoder.']) {
    put(`${E}shared.weight`, [V, e], 1);
    put(`${E}learnable_prompts`, [1, T, e], 0.02);
    tower(`${E}encoder`, ['SelfAttention']);
    tower(`${E}decoder`, ['SelfAttention', 'EncDecAttention']);
  }
  const places = (count, name, part, O, I) => {  // first all weights, then all biases
    const nets = range(count).map(t => `${name}.${t}.${part}`);
    nets.forEach(net => I ? matrix(net, O, I) : gain(net, O));
    nets.forEach(net => bias(net, O));
  };
  for (const name of ['mlps', 'aggregator.mlps']) {
    places(T, name, 'mlp.0', e);
    places(T, name, 'mlp.1', d, e);
    places(T, name, 'mlp.3', d, d);
    if (e !== d) places(T, name, 'skip', d, e);
  }
  for (const block of range(M.agg_B).map(i => `aggregator.cross_attention_list.${i}`)) {
    layernorm(`${block}.norm1`, d);
    layernorm(`${block}.norm_context`, d);
    for (const x of 'qkv') matrix(`${block}.attn.to_${x}`, wide, d);
    dense(`${block}.attn.to_out.0`, d, wide);
    layernorm(`${block}.norm2`, d);
    dense(`${block}.mlp.net.0`, Math.min(wide, d), d);
    dense(`${block}.mlp.net.3`, d, Math.min(wide, d));
  }
  const n = M.P * 2 * L, name = 'token_SA.mlp_layers';
  places(n, name, 'net.0', d);
  places(n, name, 'net.1', M.pre_ff, d);
  places(n, name, 'net.4', d, M.pre_ff);
}

// A new model of these sizes, all weights drawn from the seed.
function newModel(sizes, seed) {
  const M = { w: {} }, random = { state: seed };
  SIZES.forEach((key, i) => { M[key] = sizes[i]; });
  layout(M, (name, shape, sd, fill) => {
    const v = (M.w[name] = tensor(shape)).v;
    v.forEach((_, i) => { v[i] = sd ? r(sd) * normal(random) : fill; });
  });
  if (M.H > 1 && M.L > 1) lookBack(M);
  return M;
}

// The LM's first head looks at the token before: columns f and f + 1 are a place on a circle.
function lookBack({ w: all, d, H, S }) {
  const C = all[`${LM}h.0.attn.c_attn.weight`].v, wpe = all[`${LM}wpe.weight`].v, dh = d / H;
  const at = (i, j) => i * 3 * d + j, high = r(2.56 / Math.sqrt(d));
  const g = r(Math.sqrt(5.76 / Math.sqrt(dh)));
  for (const i of range(d)) for (const c of range(dh)) C[at(i, c)] = C[at(i, d + c)] = 0;
  for (let f = 0, w = r(0.43); f + 1 < dh; f += 2, w = r(w * r(dh / (dh + 8)))) {
    const angle = turns => r(r(2 * Math.PI) * r(turns - Math.floor(turns)));
    for (const i of range(S)) wpe[i * d + f] = high * cos(angle(r(w * i)));
    for (const i of range(S)) wpe[i * d + f + 1] = high * sin(angle(r(w * i)));
    C[at(f, f)] = C[at(f + 1, f + 1)] = g * cos(angle(w));
    C[at(f + 1, f)] = g * sin(angle(w));
    C[at(f, f + 1)] = -C[at(f + 1, f)];
    C[at(f, d + f)] = C[at(f + 1, d + f + 1)] = g;
  }
}

// The shared start; the numbers are the page's.
function sharedStart(M, sharp) {
  const { d, e } = M, v = name => weight(M, name).v, wte = v(`${LM}wte.weight`), E = 'enc_decoder.';
  const scale = r(1 / r(Math.sqrt(r(wte.reduce((s, x) => r(s + r(x * x)), 0) / wte.length))));
  const first = `${E}encoder.block.0.layer.0.SelfAttention`;
  const identity = name => {
    const w = weight(M, name), C = width(w), n = Math.min(C, height(w));
    for (const i of range(n)) for (const j of range(n)) w.v[i * C + j] = Number(i === j);
  };
  if (e === d) wte.forEach((x, i) => { v(`${E}shared.weight`)[i] = scale * x; });              // 1
  const table = v(`${first}.relative_attention_bias.weight`), bowed = Math.min(M.enc_H - 1, 7); // 2
  for (const h of range(bowed)) table[(h + 1) * M.enc_H + h] += 5;
  const C = v(`${LM}h.0.attn.c_attn.weight`), proj = v(`${LM}h.0.attn.c_proj.weight`);         // 3
  const copied = M.H > 1 && M.L > 1 && e === d && M.enc_H > 1 ? Math.min(d / M.H, M.enc_dh) : 0;
  for (const i of range(copied)) for (const j of range(d)) {
    v(`${first}.v.weight`)[i * e + j] = C[j * 3 * d + 2 * d + i] * v(`${LM}h.0.ln_1.weight`)[j];
    v(`${first}.o.weight`)[j * M.enc_H * M.enc_dh + i] = scale * proj[i * d + j];
  }
  const cross = l => `${E}decoder.block.${l}.layer.1.EncDecAttention`;                         // 4
  for (const l of range(M.enc_L)) for (const x of 'vo') identity(`${cross(l)}.${x}.weight`);
  for (const name of Object.keys(M.w)) {                                                       // 5
    if (name.startsWith(E)) v(name.replace(E, 'aggregator.question_encoder.')).set(v(name));
    if (name.startsWith('mlps.')) v(`aggregator.${name}`).set(v(name));
  }
  const attn = (i, x) => `aggregator.cross_attention_list.${i}.attn.${x}.weight`;              // 6
  for (const i of range(M.agg_B)) for (const x of ['to_v', 'to_out.0']) identity(attn(i, x));
  for (const j of range(M.P * 2 * M.L)) becomeLayer(M, j, div(j, 2) % M.L);                    // 7
  const [q, k] = [v(attn(0, 'to_q')), v(attn(0, 'to_k'))];                                     // 8
  for (const i of range(finderHeads(M) * M.agg_dh * d)) k[i] = q[i] *= sharp;
}

// The network of place j begins as the LM's layer norm and its matrix of keys or values:
// gelu(z) - gelu(-z) = z hands a number on.
function becomeLayer(M, j, l) {
  const { d, pre_ff: F } = M, c = (1 + j % 2) * d, h = Math.min(div(F, 2), d);
  const net = part => weight(M, `token_SA.mlp_layers.${j}.net.${part}`).v;
  const lm = part => weight(M, `${LM}h.${l}.${part}`).v;
  const C = lm('attn.c_attn.weight'), g = lm('ln_1.weight'), b = lm('ln_1.bias');
  net('1.weight').fill(0, 0, 2 * h * d);
  net('1.bias').fill(0, 0, 2 * h);
  net('4.weight').fill(0);
  for (const i of range(2 * h)) net('1.weight')[i * d + i % h] = i < h ? 1 : -1;
  for (const i of range(d)) {
    for (const k of range(h)) {
      const a = r(C[k * 3 * d + c + i] * g[k]) - Number(i === k);
      [net('4.weight')[i * F + k], net('4.weight')[i * F + h + k]] = [a, -a];
    }
    net('4.bias')[i] = range(d).reduce((s, k) => r(s + r(C[k * 3 * d + c + i] * b[k])),
      lm('attn.c_attn.bias')[c + i]);
  }
}

// ---- Level 7: answers -----------------------------------------------------------------------

const frozen = M => ({ ...M, w: mapped(M.w, constant) });
const documents = (M, bank, ks) => rows(bank, ks.flatMap(k => range(M.T, k * M.T)));

// Of the K documents of T rows, the mean attention in the first F heads of all attentions.
function received(attentions, F, K, T) {
  const got = Array(K).fill(0), used = attentions.flatMap(x => x.heads).filter(x => x.h < F);
  for (const { p } of used) p.v.forEach((x, i) => {
    const k = div(i % width(p), T);
    if (k < K) got[k] += x / used.length / height(p);
  });
  return got;
}

// What the finder attends of a bank, with strangers' rows behind it or none: all heads' mean, and
// the largest share. q [T,d].
function find(M, q, bank, strangers, T = M.T) {
  const all = strangers ? stack([bank, strangers]) : bank, n = height(all) / M.T;
  const first = aggAttention(M, 0, rows(q, [0]), all, { doc0: [0], n: [n] });
  const F = finderHeads(M), K = height(bank) / T;
  const each = first.heads.slice(0, F).map(x => received([{ heads: [x] }], x.h + 1, K, T));
  const share = Math.max(0, ...range(K).map(k => Math.min(...each.map(got => got[k]))));
  return { found: received([first], F, K, T), share };
}

// A question q [T,d] and a bank [K*T,d] -> y, phi_star [T,d], and what each document received.
function readBank(M, q, bank, { hierarchy, select, sure }) {
  const K = height(bank) / M.T;
  if (hierarchy > 0 && hierarchy < K) {
    const group = k => range(Math.min(hierarchy, K - k), k);          // the one that begins at k
    const firsts = range(Math.ceil(K / hierarchy)).map(g => g * hierarchy);
    const made = firsts.map(k => readBank(M, q, documents(M, bank, group(k)), {}).y);
    return readBank(M, q, stack(made), { hierarchy });
  }
  const selects = select > 0 && select < K && !hierarchy;
  const { found, share } = selects || sure
    ? find(M, q, bank, sure && weight(M, 'gate.strangers')) : {};
  if (selects) {
    const best = range(K).sort((a, b) => found[b] - found[a] || a - b).slice(0, select);
    const chosen = documents(M, bank, best.sort((a, b) => a - b));
    return { y: readBank(M, q, chosen, {}).y, found, share };
  }
  const { y, blocks } = aggregate(M, q, bank, { doc0: [0], n: [K] });
  return { y, share, found: found ?? received(blocks, M.agg_H, K, M.T) };
}

// log p of each token of V that may follow.
function nextTokens(M, prefix, context, ids) {
  const texts = [[...context, ...ids]], at = lmPositions(M, texts, [context.length]);
  const hidden = lmHidden(M, texts, at, prefix), last = rows(hidden, [height(hidden) - 1]);
  const v = lmLogits(M, last).v, top = largest(v);
  const logSum = top + Math.log(sum(v.map(x => Math.exp(x - top))));
  return [...v].map(x => x - logSum);
}

// `after` gives log p of what may follow some tokens.
function greedy(after, EOS, most) {
  const tokens = [];
  while (tokens.length < most) {
    const p = after(tokens), best = p.indexOf(largest(p));
    if (best === EOS) break;
    tokens.push(best);
  }
  return tokens;
}

// W beams in G groups of w. A beam: tokens and score; one that ended: tokens and mean.
function beams(after, EOS, most, W, G, penalty) {
  const w = W / G, ended = range(G).map(() => []);
  let groups = range(G).map(() => [{ tokens: [], score: 0 }]);
  for (let s = 0; s < most && ended.some(list => list.length < w); s++) {
    const taken = [];                            // tokens of the groups before, in this step
    groups = groups.map((group, g) => {
      if (ended[g].length >= w) return group;
      const fine = t => penalty * taken.filter(x => x === t).length, fresh = [];
      const candidates = group.flatMap(({ tokens, score }) => after(tokens).map(
        (p, t) => ({ tokens: [...tokens, t], score: score + p - fine(t) })));
      candidates.sort((a, b) => b.score - a.score).slice(0, 2 * w).forEach((c, rank) => {
        const ends = c.tokens.at(-1) === EOS, mean = c.score / c.tokens.length;
        if (ends && rank < w) ended[g].push({ tokens: c.tokens.slice(0, -1), mean });
        if (!ends && fresh.length < w) fresh.push(c);
      });
      taken.push(...fresh.map(c => c.tokens.at(-1)));
      return fresh;
    });
  }
  const open = ({ tokens, score }) => ({ tokens, mean: score / tokens.length });
  const all = groups.flatMap(
    (group, g) => [...ended[g], ...ended[g].length < w ? group.map(open) : []]);
  return all.reduce((a, b) => b.mean > a.mean ? b : a).tokens;
}

const logit = x => {
  const p = Math.min(1 - 1e-6, Math.max(1e-6, x));
  return Math.log(p) - Math.log(1 - p);
};
const sigmoid = x => 1 / (1 + Math.exp(-x));
const sureOf = ([slope, shift], share) => sigmoid(slope * logit(share) + shift);
const thresholdOf = (fit, K) => sigmoid(logit(fit[2]) - fit[3] * Math.log(Math.max(K, 16) / 16));

// Questions q: texts; bank [K*T,d]; contexts: texts or none; o: most, alone, beams and so on.
function answer(model, questions, bank, contexts, o) {
  const M = frozen(model), asked = encodeQuestions(M, questions), B = questions.length;
  const read = range(B).map(b => readBank(M, rows(asked, range(M.T, b * M.T)), bank, o));
  const prefix = o.alone ? null : expand(M, stack(read.map(x => x.y)));
  const answers = questions.map((q, b) => {
    const own = prefix && rows(prefix, range(height(prefix) / B).map(j => j * B + b));
    const after = ids => nextTokens(M, own, contexts?.[b] ?? [], [...q, ...ids]);
    return o.beams ? beams(after, M.V - 1, o.most, o.beams, o.groups || 1, o.penalty)
      : greedy(after, M.V - 1, o.most);
  });
  const fit = o.sure && weight(M, 'gate.fit').v;
  const sure = o.sure && read.map(x => sureOf(fit, x.share));
  const threshold = o.sure && thresholdOf(fit, height(bank) / M.T);
  return { answers, prefix, received: read.map(x => x.found), sure, threshold };
}

// The distances of phi [T,d] from each document of a bank / that from the nearest stranger.
function versions(M, phi, bank) {
  const which = [...weight(M, 'gate.vectors').v], size = which.length * M.d;
  const one = tensor([M.d], Array(M.d).fill(1)), plain = x => norm(x, one, tensor([M.d])).v;
  const parts = x => range(div(x.v.length, size)).map(                 // all whole documents
    i => plain(x).slice(i * size, (i + 1) * size));
  const chosen = x => rows(x, range(height(x) / M.T).flatMap(k => which.map(t => k * M.T + t)));
  const [mine] = parts(chosen(phi)), far = x => Math.sqrt(square(x.map((a, i) => a - mine[i])));
  const near = Math.min(...parts(weight(M, 'gate.strangers')).map(far));
  return parts(chosen(bank)).map(x => far(x) / near);
}

// How a gate is made; the numbers are the page's.
function makeGate(model, strangers, docs, questions, doc) {
  const M = frozen(model), T = M.T, n = strangers.length;
  const phi = encodeDocuments(M, strangers), bank = encodeDocuments(M, docs), N = docs.length;
  const all = encodeQuestions(M, questions), got = Array(T).fill(0);
  const qs = questions.map((_, b) => rows(all, range(T, b * T)));
  for (const q of qs.slice(0, 64)) {                                                           // 1
    find(M, q, phi, null, 1).found.forEach((x, i) => { got[i % T] += x; });
  }
  const half = Math.min(qs.length, 64) / (2 * finderHeads(M));
  const F = Math.max(1, got.filter(x => x >= half).length);
  const best = range(T).sort((a, b) => got[b] - got[a] || a - b).slice(0, F).sort((a, b) => a - b);
  const R = Math.ceil(n * F / T), place = i => div(i, F) % n * T + best[i % F];                // 2
  const rest = rows(phi, range(R * T).map(place)), deal = [], random = { state: 1n };
  for (const i of range(N)) {                                                                  // 3
    const j = whole(random, i + 1);
    deal[i] = deal[j];
    deal[j] = i;
  }
  const ask = (G, y) => range(G).flatMap(g => {                                                // 4
    const own = documents(M, bank, range(N).filter(i => deal[i] % G === g));
    const asked = qs.filter((_, b) => deal[doc[b]] % G === (y ? g : (g + 1) % G));
    return asked.map(q => ({ y, share: find(M, q, own, rest).share }));
  });
  const sizes = [N, div(N, 16), 2].filter(G => G > 1);
  const fit = fitGate(sizes.flatMap(G => [...ask(G, 1), ...ask(G, 0)]));                       // 5
  const [one, full] = [N, 1].map(G => ask(G, 1).map(x => x.share).sort((a, b) => a - b))     // 6
    .map(shares => shares[div(shares.length, 20)]);
  const fall = N > 16 ? fit[0] * (logit(one) - logit(full)) / Math.log(N / 16) : 0;
  return { vectors: best, strangers: rest.v, fit: [...fit, sureOf(fit, one), Math.max(0, fall)] };
}

// a, b that minimise sum of -log p(y) + a^2 / 200.
function fitGate(shares) {
  const xs = shares.map(s => logit(s.share)), total = list => list.reduce((a, b) => a + b, 0);
  const xx = 0.01 + total(xs.map(x => x * x)) / 4, x1 = total(xs) / 4, one = xs.length / 4;
  let a = 1, b = 0;
  for (let i = 0; i < 300; i++) {
    const off = shares.map(({ y }, j) => 1 / (1 + Math.exp(-(a * xs[j] + b))) - y);
    const da = a / 100 + total(off.map((p, j) => p * xs[j])), db = total(off);
    const det = xx * one - x1 * x1;
    [a, b] = [a - (one * da - x1 * db) / det, b - (xx * db - x1 * da) / det];
  }
  return [a, b];
}

// ---- Level 9: a training --------------------------------------------------------------------

const muonSteps = (name, { shape }) => shape.length > 1
  && !/wte|wpe|shared|relative_attention_bias|prompts|mlps\./.test(name);

// total steps with one batch, of the stage lm or of mac; lossOf(M) computes it. first, M: the
// weights before and after.
function train(model, lm, lossOf, o) {
  const moves = name => name.startsWith('base_lm.') === lm;
  const M = { ...model, w: mapped(model.w, (w, name) => tensor(w.shape, w.v, moves(name))) };
  if (!lm) sharedStart(M, o.sharp);
  const out = { losses: [], norms: [], first: frozen(M), M };
  const parts = Object.keys(M.w).filter(moves).map(name => moments(M.w[name].v, M.w[name].g,
    M.w[name].shape, o.momentum > 0 && muonSteps(name, M.w[name])));
  for (let i = 0, t = 1; i < o.total; i++) {
    const loss = lossOf(M);
    loss.g[0] = 1;
    backward();
    out.losses.push(loss.v[0]);
    out.norms.push(step(parts, rateOf(i, o), o, t));
    if (Number.isFinite(out.norms[i])) t++;
    parts.forEach(p => p.g.fill(0));
  }
  return out;
}

export {
  FLOAT, tensor, width, constant, range, starts, div, size, mapped, sum, backward, stack, add,
  rows, cols, linear, norm, relu, tanh, geluTanh, geluErf, softmax, crossEntropy, negLog,
  squareError, attention, t5, encodeDocuments, encodeQuestions, aggregate, expand, lmPositions,
  lmHidden, lmLogits, lmLoss, macLoss, rateOf, step, moments, M64, next, uniform, whole, normal,
  SIZES, newModel, sharedStart, frozen, answer, versions, makeGate, train,
};

import('./port_cases.mjs').then(({ main }) => main(process.argv.slice(2)));
