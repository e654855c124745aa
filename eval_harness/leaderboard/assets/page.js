'use strict';
(function () {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const form = document.getElementById('filters');
  const tip = document.getElementById('tip');
  const tabs = all('#tabs a');
  const sections = all('section.tab');
  const columns = document.createElement('style');
  document.head.append(columns);
  const controls = document.getElementById('controls');
  controls.hidden = false;
  if (innerWidth <= 640) controls.open = false;

  // Tabs: one mode at a time; the address keeps which.
  const list = document.getElementById('tabs');
  list.setAttribute('role', 'tablist');
  tabs.forEach((tab, number) => {
    const section = sections[number];
    tab.setAttribute('role', 'tab');
    tab.id = 'tab-' + section.id;
    tab.setAttribute('aria-controls', section.id);
    section.setAttribute('role', 'tabpanel');
    section.setAttribute('aria-labelledby', tab.id);
    tab.addEventListener('click', (event) => { event.preventDefault(); show(number, true); });
    tab.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const target = event.key === 'Home' ? 0 : event.key === 'End' ? tabs.length - 1 : number + (step || 0);
      if (target === number && !['Home', 'End'].includes(event.key)) return;
      event.preventDefault();
      show((target + tabs.length) % tabs.length, true);
      tabs[(target + tabs.length) % tabs.length].focus();
    });
  });

  function show(number, remember) {
    hideTip();
    tabs.forEach((tab, other) => {
      tab.setAttribute('aria-selected', String(other === number));
      tab.tabIndex = other === number ? 0 : -1;
      sections[other].hidden = other !== number;
    });
    if (remember) history.replaceState(null, '', '#' + sections[number].id);
  }

  function fromAddress() {
    const found = sections.findIndex((section) => '#' + section.id === location.hash);
    if (found >= 0) show(found, false);
    return found >= 0;
  }

  // Rows: what the filters let through, with rank and means on the chosen tasks.
  const rows = all('table.board tbody tr').map((element) => ({
    element,
    name: element.dataset.name.toLowerCase() + ' ' + element.cells[0].textContent.toLowerCase(),
    size: element.dataset.size === '' ? null : Number(element.dataset.size),
    licence: element.dataset.licence || '',
    sets: JSON.parse(element.dataset.sets),
    is: (kind) => element.classList.contains(kind),
    cells: all('td', element).filter((cell) => !cell.classList.contains('sum')),
  }));
  const byElement = new Map(rows.map((row) => [row.element, row]));
  const members = JSON.parse(document.getElementById('sets').textContent);

  function apply() {
    hideTip();
    const set = form.elements.set.value;
    const shown = members[set];
    const total = rows.length ? rows[0].cells.length : 0;
    const absent = [];
    for (let number = 0; number < total; number++) if (!shown.includes(number)) absent.push('.board .c' + number);
    columns.textContent = absent.length ? absent.join(',') + '{display:none}' : '';
    all('th.cat').forEach((head) => {
      const inside = shown.filter((number) => number >= Number(head.dataset.from) && number < Number(head.dataset.to));
      head.hidden = inside.length === 0;
      if (inside.length) head.colSpan = inside.length;
    });
    rows.forEach((row) => {
      const standing = row.sets[set];
      const text = (value) => (value === null ? '–' : value.toFixed(3));
      const cell = (kind) => row.element.querySelector('td.' + kind);
      const place = standing[0] === null ? '–' : row.is('published') ? '(' + standing[0] + ')' : String(standing[0]);
      cell('rank').textContent = place;
      cell('rank').title = standing[3];
      cell('auroc').textContent = text(standing[1]);
      cell('mae').textContent = text(standing[2]);
      row.element.hidden = !passes(row, standing, shown);
    });
    all('.figures').forEach((figure) => { figure.hidden = figure.dataset.set !== set; });
    all('details.pub').forEach((part) => { part.hidden = !form.elements.published.checked; });
    sections.forEach(count);
  }

  function passes(row, standing, shown) {
    const chosen = form.elements;
    const words = chosen.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const cells = shown.map((number) => row.cells[number]).filter((cell) => cell && cell.dataset.v);
    const limit = Number(chosen.size.value) * 1e6;
    if (words.some((word) => !row.name.includes(word))) return false;
    if (chosen.size.value !== '' && row.size === null) return false;
    if (limit < 0 && row.size > -limit) return false;
    if (limit > 0 && row.size <= limit) return false;
    if (chosen.licence.value && (row.is('baseline') || row.licence !== chosen.licence.value)) return false;
    if (chosen.clean.checked && cells.some((cell) => cell.dataset.t !== 'c')) return false;
    if (chosen.complete.checked && !standing[4]) return false;
    if (chosen.plain.checked && cells.some((cell) => cell.dataset.d)) return false;
    if (!chosen.baselines.checked && row.is('baseline')) return false;
    if (!chosen.published.checked && row.is('published')) return false;
    return true;
  }

  function count(section) {
    const own = rows.filter((row) => section.contains(row.element));
    const visible = own.filter((row) => !row.element.hidden);
    const ranked = visible.filter((row) => !row.is('published') && row.sets[form.elements.set.value][0] !== null);
    const figure = section.querySelector('.figures:not([hidden])');
    section.querySelector('.count').textContent = visible.length + ' of ' + own.length + ' rows; ' + ranked.length +
      ' computed here are complete on ' + form.elements.set.selectedOptions[0].textContent + ' and ranked.' +
      (figure && !figure.children.length ? ' Fewer than two rows are complete: no chart.' : '');
  }

  // Sorting: by any column; what has no value stays last.
  function value(row, key) {
    const standing = row.sets[form.elements.set.value];
    if (key === 'name') return row.name;
    if (key === 'rank') return standing[0] === null ? null : standing[0] + (row.is('published') ? 1e6 : 0);
    if (key === 'auroc') return standing[1];
    if (key === 'mae') return standing[2];
    const cell = row.cells[Number(key)];
    return cell && cell.dataset.v !== undefined ? Number(cell.dataset.v) : null;
  }

  function sort(table, head, way) {
    const key = head.dataset.sort;
    all('th[data-sort]', table).forEach((other) => other.setAttribute('aria-sort', other === head ? way : 'none'));
    const sign = way === 'ascending' ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows).map((element, place) => [value(byElement.get(element), key), place, element]);
    keyed.sort((one, other) => {
      if (one[0] === null || other[0] === null) return (one[0] === null) - (other[0] === null) || one[1] - other[1];
      const order = typeof one[0] === 'string' ? one[0].localeCompare(other[0]) : one[0] - other[0];
      return sign * order || one[1] - other[1];
    });
    body.append(...keyed.map((entry) => entry[2]));
  }

  all('table.board').forEach((table) => all('th[data-sort]', table).forEach((head) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute('aria-sort', 'none');
    const first = ['name', 'rank', 'mae'].includes(head.dataset.sort) || head.dataset.lower ? 'ascending' : 'descending';
    button.addEventListener('click', () => {
      const now = head.getAttribute('aria-sort');
      sort(table, head, now === 'none' ? first : now === 'ascending' ? 'descending' : 'ascending');
    });
  }));

  // Details: by mouse, by keyboard (arrow keys go from score to score), by touch.
  const links = all('table.board td a');
  links.forEach((link) => {
    link.dataset.tip = link.title;
    link.removeAttribute('title');
    link.tabIndex = -1;
  });
  all('table.board').forEach((table) => { const first = table.querySelector('td a'); if (first) first.tabIndex = 0; });

  function hideTip() { tip.hidden = true; }

  function showTip(link, touched) {
    tip.replaceChildren(link.dataset.tip);
    if (touched) {
      const open = document.createElement('a');
      open.href = link.href;
      open.textContent = 'Open the result';
      tip.append(document.createElement('br'), open);
    }
    tip.hidden = false;
    const box = link.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - size.width / 2), innerWidth - size.width - 8);
    const below = box.bottom + 8 + size.height <= innerHeight;
    tip.style.left = Math.max(8, left) + 'px';
    tip.style.top = Math.max(8, below ? box.bottom + 6 : box.top - size.height - 6) + 'px';
    link.setAttribute('aria-describedby', 'tip');
  }

  const linkOf = (event) => (event.target.closest ? event.target.closest('table.board td a') : null);
  let touch = false;
  document.addEventListener('pointerdown', (event) => { touch = event.pointerType === 'touch'; });
  document.addEventListener('pointerover', (event) => {
    const link = linkOf(event);
    if (link && event.pointerType !== 'touch') showTip(link, false);
  });
  document.addEventListener('pointerout', (event) => {
    const link = linkOf(event);
    if (link && event.pointerType !== 'touch' && link !== document.activeElement) hideTip();
  });
  document.addEventListener('focusin', (event) => {
    const link = linkOf(event);
    if (!link) { if (!tip.contains(event.target)) hideTip(); return; }
    all('a[tabindex="0"]', link.closest('tbody')).forEach((other) => { other.tabIndex = -1; });
    link.tabIndex = 0;
    link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    showTip(link, touch);
  });
  document.addEventListener('click', (event) => {
    const link = linkOf(event);
    if (link && touch) {
      event.preventDefault();
      showTip(link, true);
    } else if (!link && !tip.contains(event.target)) hideTip();
  });
  document.addEventListener('scroll', hideTip, true);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { hideTip(); return; }
    const link = linkOf(event);
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!link || !move) return;
    event.preventDefault();
    const body = link.closest('tbody');
    const visible = Array.from(body.rows).filter((row) => !row.hidden);
    let line = visible.indexOf(link.closest('tr'));
    let place = link.closest('td').cellIndex;
    for (;;) {
      line += move[0];
      place += move[1];
      if (!visible[line] || !visible[line].cells[place]) return;
      const next = visible[line].cells[place].querySelector('td a');
      if (next && next.offsetParent !== null) { next.focus(); return; }
    }
  });

  form.addEventListener('input', apply);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(apply));
  addEventListener('hashchange', fromAddress);
  apply();
  if (tabs.length && !fromAddress()) show(0, false);
})();
