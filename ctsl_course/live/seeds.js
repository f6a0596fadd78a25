(state, data) => {
  const all = data.differences[state.row], n = state.n, studies = [];
  for (let mask = 0; mask < 2 ** all.length; mask++) {
    const some = all.filter((_, seed) => mask >> seed & 1);
    if (some.length !== n) continue;
    const mean = some.reduce((a, b) => a + b) / n;
    const variance = some.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
    studies.push({ mean, half: data.t[n] * Math.sqrt(variance / n) });
  }
  const apart = (a, b) => Math.abs(a - b) > 1e-9 ? a - b : 0;
  studies.sort((a, b) => apart(a.mean, b.mean) || apart(a.half, b.half));
  const found = study => Math.abs(study.mean) > study.half ? 1 : 0;
  const shown = Math.min(data.shown, studies.length);
  const values = {
    row_name: data.names[state.row], studies: studies.length, shown,
    found: 100 * studies.filter(found).length / studies.length,
    half: studies.reduce((sum, study) => sum + study.half, 0) / studies.length,
  };
  for (let i = 0; i < data.shown; i++) {
    const place = shown > 1 ? Math.floor(i * (studies.length - 1) / (shown - 1)) : 0;
    const study = i < shown ? studies[place] : { mean: 0, half: 0 };
    Object.assign(values, {
      [`mean${i}`]: study.mean, [`low${i}`]: study.mean - study.half, [`high${i}`]: study.mean + study.half,
      [`kind${i}`]: i >= shown ? "none" : found(study) ? "found" : "open",
    });
  }
  return values;
}
