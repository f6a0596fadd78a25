(state, data) => {
  const level = data.levels[state.level], values = { noise: level.noise };
  level.methods.forEach((found, i) => found.forEach((x, part) => { values[data.parts[part] + i] = x; }));
  return values;
}
