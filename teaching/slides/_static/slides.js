// A browser that only prints draws no frames: there, a timer takes their place, or the pages would never be laid out.
if (location.search.includes("print-pdf")) {
  window.requestAnimationFrame = (next) => setTimeout(() => next(performance.now()), 10);
}

// Formulas change the height of a slide: lay the slides out again when MathJax is done.
window.addEventListener("load", () => {
  if (window.MathJax && MathJax.startup) {
    MathJax.startup.promise.then(() => Reveal.layout());
  }
});
