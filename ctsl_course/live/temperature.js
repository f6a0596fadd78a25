(state, data) => {
  const values = { t: 2 ** state.log2_t };
  data.logits.forEach((z, i) => {
    const parts = z.map(one => Math.exp((one - Math.max(...z)) / values.t));
    const sum = parts.reduce((a, b) => a + b);
    const p = parts.map(part => part / sum);
    p.forEach((share, c) => { values[`p${i}_${c}`] = share; });
    values[`H${i}`] = p.reduce((total, share) => total - (share > 0 ? share * Math.log(share) : 0), 0);
  });
  return values;
}
