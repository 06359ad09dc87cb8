// Renew the runs that are not done; when one has ended, the whole page.
const now = document.getElementById('now');
async function renew() {
  const answer = await fetch('/now').catch(() => null);
  now.classList.toggle('lost', !answer?.ok);
  if (!answer?.ok) return;
  if (answer.headers.get('X-Done') !== now.dataset.done) location.reload();
  now.innerHTML = await answer.text();
}

// The next request waits for the answer, which takes seconds for a table of many runs.
async function again() {
  await renew().catch(() => now.classList.add('lost'));
  setTimeout(again, 3000);
}
setTimeout(again, 3000);
