/** Runs before anything is painted: the theme that was chosen last, if one was. */
try {
  const chosen = localStorage.getItem('sekisho-theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // No storage: the system's theme it is.
}
