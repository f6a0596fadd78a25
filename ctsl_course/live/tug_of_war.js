(state, data) => {
  const softmax = z => {
    const parts = z.map(one => Math.exp(one - Math.max(...z))), sum = parts.reduce((a, b) => a + b);
    return parts.map(part => part / sum);
  };
  const kl = (q, p) => q.reduce((total, share, c) => total + share * Math.log(share / p[c]), 0);
  const rest = (1 - state.sure) / 2;
  let k = [state.sure, rest, rest].map(Math.log), j = data.other.map(Math.log);
  for (let step = 0; step < state.steps; step++) {
    const gradient = softmax(k).map((p, c) => p - softmax(j)[c]);
    k = k.map((z, c) => z - gradient[c]);
    if (state.both) j = j.map((z, c) => z + gradient[c]);
  }
  const p_k = softmax(k), p_j = softmax(j), values = { k_from_j: kl(p_j, p_k), j_from_k: kl(p_k, p_j) };
  p_k.forEach((p, c) => {
    const gradient = p - p_j[c], seen = Math.abs(gradient) > 0.02 ? 1 : 0;
    Object.assign(values, { [`k${c}`]: p, [`j${c}`]: p_j[c], [`g${c}`]: gradient, [`pull_k${c}`]: seen, [`pull_j${c}`]: seen * state.both });
  });
  return values;
}
