(formula => {
  const number = (x, digits, sign) => {
    const text = x.toFixed(digits);
    return +text === 0 ? text.replace("-", "") : text.replace("-", "−").replace(/^(?=\d)/, sign);
  };
  const fill = (text, values) => text.replace(/\{(\w+)(?::(\+?)(\d))?\}/g, (_, name, sign, digits) =>
    digits === undefined ? values[name] : number(values[name], +digits, sign));

  const start = root => {
    root.querySelector(".stage").innerHTML = root.querySelector(".live").textContent;
    const { controls, data } = JSON.parse(root.querySelector(".data").textContent);
    const state = {};
    const within = (control, x) => {
      const steps = Math.round((Math.min(Math.max(x, control.low), control.high) - control.low) / control.step);
      return Math.min(control.low + steps * control.step, control.high);
    };
    const draw = () => {
      const values = { ...state, ...formula(state, data) };
      for (const part of root.querySelectorAll("[data-bind]"))
        for (const [name, how] of Object.entries(JSON.parse(part.dataset.bind))) {
          const text = typeof how === "string" ? fill(how, values) : +(how[1] * values[how[0]] + how[2]).toFixed(2);
          if (name === "text") part.textContent = text; else part.setAttribute(name, text);
        }
      for (const input of root.querySelectorAll("[data-control]")) input.value = state[input.dataset.control];
    };
    const reset = () => {
      for (const [name, control] of Object.entries(controls)) state[name] = control.value;
      draw();
    };
    const set = (name, x) => { state[name] = within(controls[name], x); };

    for (const input of root.querySelectorAll("[data-control]"))
      input.addEventListener("input", () => { set(input.dataset.control, +input.value); draw(); });
    root.querySelector("button").addEventListener("click", reset);

    for (const handle of root.querySelectorAll("[data-drag]")) {
      const [right, up] = handle.dataset.drag.split(" ");
      const { cx, cy } = JSON.parse(handle.dataset.bind);
      handle.addEventListener("pointerdown", event => { handle.setPointerCapture(event.pointerId); handle.focus(); });
      handle.addEventListener("pointermove", event => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(handle.ownerSVGElement.getScreenCTM().inverse());
        set(right, (at.x - cx[2]) / cx[1]);
        set(up, (at.y - cy[2]) / cy[1]);
        draw();
      });
      handle.addEventListener("keydown", event => {
        const move = { ArrowLeft: [right, -1], ArrowRight: [right, 1], ArrowDown: [up, -1], ArrowUp: [up, 1] }[event.key];
        if (!move) return;
        event.preventDefault();
        set(move[0], state[move[0]] + move[1] * controls[move[0]].step * (event.shiftKey ? 5 : 1));
        draw();
      });
    }
    root.dataset.ready = "yes";
    reset();
  };
  document.querySelectorAll('.ctsl-live[data-key="KEY"]:not([data-ready])').forEach(start);
})
