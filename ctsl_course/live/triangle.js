(state, data) => {
  const names = "ABC", pairs = ["AB", "AC", "BC"], values = {};
  const huber = x => Math.abs(x) <= 1 ? x * x / 2 : Math.abs(x) - 0.5;
  const relations = points => {
    const minus = (u, v) => [points[u][0] - points[v][0], points[u][1] - points[v][1]];
    const length = (u, v) => Math.hypot(...minus(u, v));
    const mean = pairs.reduce((sum, [u, v]) => sum + length(u, v), 0) / 3, psi = {};
    for (const [u, v] of pairs) psi[u + v] = length(u, v) / (mean || 1);
    for (const v of names) {
      const [u, w] = [...names].filter(name => name !== v), size = length(u, v) * length(w, v);
      const [a, b] = [minus(u, v), minus(w, v)];
      psi[v] = size > 0 ? (a[0] * b[0] + a[1] * b[1]) / size : 0;
    }
    return psi;
  };
  const own = relations(Object.fromEntries([...names].map(name => [name, [state[name + "x"], state[name + "y"]]])));
  const target = relations(data.target);
  for (const name of Object.keys(own)) {
    values["k_" + name] = own[name];
    values["j_" + name] = target[name];
    values["h_" + name] = huber(own[name] - target[name]);
  }
  const mean = all => all.reduce((sum, name) => sum + values["h_" + name], 0) / 3;
  values.L_DD = mean(pairs);
  values.L_AD = mean([...names]);
  return values;
}
