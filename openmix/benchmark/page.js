// Without a script the page reads the same; with it tables sort, and rows and columns can be chosen.
const board = document.getElementById('leaderboard');
const tools = document.querySelector('.tools');

// The last row of a head has a cell for each column; a row above it has the names of groups.
const headsOf = table => [...table.tHead.rows[table.tHead.rows.length - 1].cells];

function sort(table, head) {
  const heads = headsOf(table);
  const body = table.tBodies[0];
  const column = heads.indexOf(head);
  const by = tools?.querySelector('[name=sort]:checked')?.value ?? 'ours';
  const key = row => {
    const data = row.cells[column].dataset;
    if (table === board && column > 0) return data[by] ?? '';
    return data.value ?? row.cells[column].textContent.trim();
  };
  const way = {ascending: 1, descending: -1}[head?.getAttribute('aria-sort')] ?? 0;
  const compare = (a, b) => {
    if (way === 0) return a.dataset.at - b.dataset.at;
    const [left, right] = [key(a), key(b)];
    if (left === '' || right === '') return (left === '') - (right === '');
    const numbers = Number(left) - Number(right);
    return way * (Number.isNaN(numbers) ? left.localeCompare(right, undefined, {numeric: true}) : numbers);
  };
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll('table')) {
  [...table.tBodies[0].rows].forEach((row, at) => { row.dataset.at = at; });
  const heads = headsOf(table);
  heads.forEach((head, column) => head.querySelector('button')?.addEventListener('click', () => {
    // The better end first, then the other one, then the table's own order.
    const words = column === 0 || head.classList.contains('text') || head.dataset.lower;
    const ways = words ? ['ascending', 'descending', null] : ['descending', 'ascending', null];
    const next = ways[(ways.indexOf(head.getAttribute('aria-sort')) + 1) % 3];
    heads.forEach(other => other.removeAttribute('aria-sort'));
    if (next) head.setAttribute('aria-sort', next);
    sort(table, head);
  }));
}

function choose() {
  const words = tools.querySelector('[type=search]').value.toLowerCase().split(',').map(w => w.trim()).filter(Boolean);
  const chosen = {};
  for (const chip of tools.querySelectorAll('.chip[aria-pressed=true]')) {
    (chosen[chip.dataset.part] ??= []).push(chip.dataset.is);
  }
  const takesRow = row => words.length === 0 || words.some(word => row.toLowerCase().includes(word));
  const takesColumn = column => {
    const parts = column.split(' / ');
    return Object.entries(chosen).every(([part, values]) => values.includes(parts[part]));
  };
  for (const element of document.querySelectorAll('[data-row], [data-column]')) {
    const {row, column} = element.dataset;
    element.classList.toggle('off', !((row === undefined || takesRow(row)) && (column === undefined || takesColumn(column))));
  }
  let at = 1;
  for (const group of board.querySelectorAll('.above')) {
    group.dataset.all ??= group.colSpan;
    const found = headsOf(board).slice(at, at + Number(group.dataset.all)).filter(head => !head.classList.contains('off'));
    at += Number(group.dataset.all);
    group.classList.toggle('off', found.length === 0);
    group.colSpan = Math.max(found.length, 1);
  }
  // A chart of several columns goes when nothing is left in it.
  for (const panel of document.querySelectorAll('.panel:not([data-column])')) {
    panel.classList.toggle('off', panel.querySelector('g[data-row]:not(.off)') === null);
  }
  const shown = selector => [...board.querySelectorAll(selector)].filter(e => !e.classList.contains('off')).length;
  const output = tools.querySelector('output');
  const [rows, columns] = [shown('tbody tr'), shown('thead th[data-column]')];
  output.textContent = `${rows} of ${output.dataset.rows} methods, ${columns} of ${output.dataset.columns} columns`;
}

for (const box of document.querySelectorAll('.scroll')) {
  const fade = () => box.classList.toggle('more', box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  box.addEventListener('scroll', fade, {passive: true});
  new ResizeObserver(fade).observe(box);
  fade();
}

for (const button of document.querySelectorAll('.zoom')) {
  button.addEventListener('click', () => {
    const dialog = document.createElement('dialog');
    dialog.append(button.querySelector('img').cloneNode());
    dialog.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

if (tools) {
  tools.hidden = false;
  tools.addEventListener('submit', event => event.preventDefault());
  tools.querySelector('[type=search]').addEventListener('input', choose);
  for (const chip of tools.querySelectorAll('.chip')) {
    chip.addEventListener('click', () => {
      chip.setAttribute('aria-pressed', String(chip.getAttribute('aria-pressed') !== 'true'));
      choose();
    });
  }
  for (const radio of tools.querySelectorAll('[name=sort]')) {
    radio.addEventListener('change', () => {
      const head = board.querySelector('[aria-sort]');
      if (head) sort(board, head);
    });
  }
  choose();
}
