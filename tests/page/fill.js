// fill.js - the model's matrices in few bits.  `make page` rounds each to whole multiples of a step
// of its own.  The frame is the model's file with only the step in each matrix, in its first place;
// `whole` holds the multiples of all, the low bytes of all before the high ones, which gzip likes.
function fillModel(frame, whole) {
    const head = 8 + Number(new DataView(frame.buffer).getBigUint64(0, true));
    const tensors = JSON.parse(new TextDecoder().decode(frame.subarray(8, head)));
    const high = new Int8Array(whole.buffer, whole.length / 2);
    let i = 0;
    for (const {shape, data_offsets} of Object.values(tensors)) {
        if (!shape || shape.length < 2) continue; // __metadata__, or a vector, which stays as it is
        const n = (data_offsets[1] - data_offsets[0]) / 4;
        const numbers = new Float32Array(frame.buffer, head + data_offsets[0], n);
        const step = numbers[0];
        for (let k = 0; k < n; k++, i++) numbers[k] = step * (high[i] * 256 + whole[i]);
    }
}
