// Renew the runs that are not done; when one has ended, the whole page.
const now = document.getElementById('now');
setInterval(async () => {
  const answer = await fetch('/now').catch(() => null);
  now.classList.toggle('lost', !answer?.ok);
  if (!answer?.ok) return;
  if (answer.headers.get('X-Done') !== now.dataset.done) location.reload();
  now.innerHTML = await answer.text();
}, 3000);
