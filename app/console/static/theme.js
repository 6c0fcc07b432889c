// Applies the chosen colours before the first picture, so that the page does not flash. Not a module: it must not wait.
(() => {
  const theme = localStorage.getItem("framemill.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
