// The inspector's only script. Every page is complete without it; it adds keys, the slider, the brush and live updates.
// Rules: what the server escaped is put in place as nodes, never as text that is read as HTML by this page; geometry by
// SVG attributes; nothing is fetched from elsewhere.
(() => {
'use strict';
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
const el = (tag, attrs = {}, ...kids) => { const n = document.createElement(tag); for (const k in attrs) if (attrs[k] != null) n.setAttribute(k, attrs[k]); n.append(...kids); return n; };
const svg = (tag, attrs = {}) => { const n = document.createElementNS('http://www.w3.org/2000/svg', tag); for (const k in attrs) n.setAttribute(k, attrs[k]); return n; };
const icon = d => { const s = svg('svg', { width: 14, height: 14, viewBox: '0 0 14 14', fill: 'currentColor', 'aria-hidden': 'true' }); s.append(svg('path', { d })); return s; };
const toast = m => { $('.toast')?.remove(); const t = el('div', { class: 'toast', role: 'status' }, m); document.body.append(t); setTimeout(() => t.remove(), 1800); };
const commas = n => n.toLocaleString('en');

// A page of this server as a document that runs nothing. A line is drawn under the bar if it takes long.
const fetchPage = async (url, signal) => {
  const slow = setTimeout(() => document.body.classList.add('busy'), 150);
  try {
    const r = await fetch(url, { signal, credentials: 'same-origin', redirect: 'error' });
    const page = new DOMParser().parseFromString(await r.text(), 'text/html');
    if (!r.ok) throw new Error(page.querySelector('main h1, h3')?.textContent || `answer ${r.status}`);
    return page;
  } finally { clearTimeout(slow); document.body.classList.remove('busy'); }
};

// Keys
const rows = () => $$('[data-rows] tbody tr:not(.body):not(.day)').filter(r => r.offsetParent);
let cur = -1;
const go = d => {
  const rs = rows(); if (!rs.length) return;
  rs[cur]?.classList.remove('cur');
  cur = Math.max(0, Math.min(rs.length - 1, cur + d));
  rs[cur].classList.add('cur'); rs[cur].scrollIntoView({ block: 'nearest' });
};
const jump = { o: '/', a: '/aggregates', l: '/log', d: '/delivery', s: '/storage' };
let g = 0;
addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== 'range') { if (e.key === 'Escape') e.target.blur(); return; }
  if ($('dialog[open]')) return;
  if (g && Date.now() - g < 900 && jump[e.key]) { location.href = jump[e.key]; return; }
  g = e.key === 'g' ? Date.now() : 0;
  const onSlider = e.target.type === 'range';
  if (e.key === '/') { e.preventDefault(); ($('main input[type=search]') || $('#find')).focus(); }
  else if (e.key === '?') $('#help')?.showModal();
  else if (Replay && replayKey(e, onSlider)) e.preventDefault();
  else if (e.key === 'j') go(1);
  else if (e.key === 'k') go(-1);
  else if (e.key === 'Enter' && rows()[cur] && e.target === document.body) ($('.twist', rows()[cur]) || $('a', rows()[cur]))?.click();
  else if (e.key === 'ArrowLeft') $('#older')?.click();
  else if (e.key === 'ArrowRight') $('#newer')?.click();
});
const replayKey = (e, onSlider) => {
  const idle = !e.target.closest('button, summary, input, .json');
  switch (e.key) {
    case 'j': Replay.by(1); return true;
    case 'k': Replay.by(-1); return true;
    case '[': Replay.snapshot(-1); return true;
    case ']': Replay.snapshot(1); return true;
    case 'c': Replay.compare(); return true;
    case 'f': $('#fold')?.click(); return true;
    case ' ': if (idle || onSlider) { Replay.play(); return true; } return false;
    case 'ArrowLeft': case 'ArrowRight': if (onSlider) return false; Replay.by(e.key === 'ArrowLeft' ? -1 : 1); return true;
    case 'Home': if (!idle) return false; Replay.to(Replay.lowest); return true;
    case 'End': if (!idle) return false; Replay.to(Replay.version); return true;
    default: return false;
  }
};

document.addEventListener('click', e => {
  const copy = e.target.closest('[data-copy]');
  if (copy) { navigator.clipboard?.writeText(copy.dataset.copy).then(() => toast('Copied'), () => toast('Could not copy')); return; }
  if (e.target.closest('#open-help')) $('#help').showModal();
  const t = e.target.closest('.twist');
  if (t) {
    const b = document.getElementById(t.getAttribute('aria-controls')); b.hidden = !b.hidden;
    t.setAttribute('aria-expanded', !b.hidden); t.textContent = b.hidden ? '▸' : '▾'; t.closest('tr').classList.toggle('open', !b.hidden);
  }
});

// Replay. The server folds and compares; a step fetches the part of the page that changes, which is also a page of its own.
let Replay = null;
const replay = root => {
  const number = name => +root.dataset[name], text = name => root.dataset[name];
  const lowest = number('lowest'), version = number('version'), size = number('window');
  const snapshots = text('snapshots') ? text('snapshots').split(',').map(Number) : [];
  const a = $('#va', root), b = $('#vb', root), play = $('#play', root);
  let v = number('v'), from = text('from') == null ? null : number('from'), after = number('after');
  let timer = 0, wanted = null, pending = 0, addressed = 0, late = 0;
  const windowOf = x => Math.max(Math.floor(Math.max(0, x - 1) / size) * size, lowest);

  // The address of what is shown; the other parameters stay.
  const address = () => {
    const u = new URL(location.href), q = u.searchParams;
    ['v', 'from', 'to', 'part'].forEach(k => q.delete(k));
    const place = from == null ? `v=${v}` : `from=${from}&to=${v}`, rest = q.toString();
    u.search = rest ? `${place}&${rest}` : place;
    return u;
  };
  // Not more often than four times a second, and without entries that bury the Back button.
  const setAddress = () => {
    clearTimeout(late);
    const wait = 260 - (Date.now() - addressed);
    if (wait > 0) { late = setTimeout(setAddress, wait); return; }
    addressed = Date.now(); history.replaceState(null, '', address());
  };
  const mark = () => {
    $('#vnow').textContent = from == null ? `v${commas(v)}` : `v${commas(from)} → v${commas(v)}`;
    b.value = v; if (from != null) a.value = from;
    if (document.activeElement !== $('#vbox')) $('#vbox').value = v;
    $$('.track .bar', root).forEach(r => r.classList.toggle('past', +r.dataset.v <= v && (from == null || +r.dataset.v > from)));
    const all = Math.max(1, version - lowest), x = n => (n - lowest) / all * 100;
    const span = $('.track .span', root);
    span.setAttribute('x', from == null ? 0 : x(from) + '%'); span.setAttribute('width', from == null ? 0 : x(v) - x(from) + '%');
    const list = $('.steps', root);
    let current = null;
    $$('li[data-v]', list).forEach(li => {
      const first = +li.dataset.from, last = +li.dataset.v, link = li.firstElementChild, on = v >= first && v <= last;
      if (on) { link.setAttribute('aria-current', 'step'); current = li; } else link.removeAttribute('aria-current');
      link.classList.toggle('later', first > v); link.classList.toggle('within', from != null && first > from && first <= v && !on);
    });
    if (current) {
      const top = current.offsetTop;
      if (top < list.scrollTop + 60 || top > list.scrollTop + list.clientHeight - 90) {
        let third = current; for (let i = 0; i < 3 && third.previousElementSibling; i++) third = third.previousElementSibling;
        list.scrollTop = third.offsetTop;
      }
    }
  };
  // Puts what the server says in the place of what is shown. One request at a time; what was asked meanwhile comes next.
  const load = async () => {
    if (wanted) { wanted.again = true; return; }
    wanted = { again: false, abort: new AbortController() };
    const shown = wanted, u = address(), whole = windowOf(v) !== after;
    if (!whole) u.searchParams.set('part', '1');
    try {
      const page = await fetchPage(u, shown.abort.signal);
      if (whole) { const now = $('#replay', page); after = +now.dataset.after; swap($('.events', root), $('.events', page)); swap($('.track > svg', root), $('.track > svg', page)); }
      swap($('#label', root), $('#label', page)); swap($('#view', root), $('#view', page));
      b.setAttribute('aria-valuetext', $('#label', root).dataset.spoken);
      const cmp = $('#cmp', page); if (cmp) $('#cmp').href = cmp.getAttribute('href');
      sync(); mark();
    } catch (error) { if (error.name !== 'AbortError') toast(error.message); }
    wanted = null;
    if (shown.again) load();
  };
  const swap = (old, now) => { if (old && now) old.replaceWith(document.adoptNode(now)); };
  const show = () => { mark(); setAddress(); clearTimeout(pending); pending = setTimeout(load, windowOf(v) === after ? 0 : 80); };
  const set = x => { v = Math.max(lowest, Math.min(version, x)); if (from != null && from > v) from = v; show(); };
  const stop = () => { clearInterval(timer); timer = 0; play.replaceChildren(icon('M3.5 2v10L12 7z')); play.setAttribute('aria-label', 'Play'); };
  // Two columns of a comparison scroll together.
  const sync = () => {
    const [l, r] = $$('[data-sync]', root); if (!r) return;
    let busy = false;
    const follow = (p, q) => p.addEventListener('scroll', () => { if (!busy) { busy = true; q.scrollTop = p.scrollTop; requestAnimationFrame(() => { busy = false; }); } });
    follow(l, r); follow(r, l);
  };
  return {
    lowest, version, address, by: d => set(v + d), to: set, sync, mark,
    drag: x => { stop(); set(x); }, dragFrom: x => { from = Math.min(x, v); show(); },
    snapshot: d => { const all = [lowest, ...snapshots, version].filter(x => d < 0 ? x < v : x > v); if (all.length) set(d < 0 ? all.at(-1) : all[0]); },
    compare: () => {
      from = from == null ? Math.max(lowest, v - 10) : null;
      a.hidden = from == null; $('.track', root).classList.toggle('two', from != null);
      if (from == null) $('#cmp').removeAttribute('aria-current'); else $('#cmp').setAttribute('aria-current', 'true');
      show();
    },
    play: () => {
      if (timer) { stop(); return; }
      if (v === version) set(lowest);
      play.replaceChildren(icon('M3 2h3v10H3zM8 2h3v10H8z')); play.setAttribute('aria-label', 'Pause');
      timer = setInterval(() => { set(v + 1); if (v === version) stop(); }, 250);
    },
  };
};

const root = $('#replay');
if (root) {
  Replay = replay(root);
  $('#play', root).hidden = false;
  Replay.sync(); Replay.mark();
  $('#vb', root).addEventListener('input', e => Replay.drag(+e.target.value));
  $('#va', root).addEventListener('input', e => Replay.dragFrom(+e.target.value));
  $('#play', root).addEventListener('click', Replay.play);
  $('.goto', root).addEventListener('submit', e => { e.preventDefault(); Replay.to(+$('#vbox').value.replace(/[^0-9]/g, '') || Replay.lowest); });
  $('#cmp').addEventListener('click', e => { e.preventDefault(); Replay.compare(); });
  root.addEventListener('click', e => {
    if (e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
    const link = e.target.closest('a'); if (!link) return;
    const step = link.closest('.steps li'), by = link.dataset.go;
    if (step) { e.preventDefault(); Replay.to(+step.dataset.v); }
    else if (by) { e.preventDefault(); by === 'first' ? Replay.to(Replay.lowest) : by === 'last' ? Replay.to(Replay.version) : Replay.by(+by); }
    else if (link.closest('.events .seg')) {
      e.preventDefault();
      const u = Replay.address(), list = new URL(link.href).searchParams.get('list');
      if (list) u.searchParams.set('list', list); else u.searchParams.delete('list');
      location.href = u;
    }
  });
}

// The brush over the histogram; the two date fields are the same thing for the keyboard.
const brush = $('.brush');
if (brush) {
  const sel = $('.sel', brush), edges = $$('.edge', brush), n = +brush.dataset.n, t0 = +brush.dataset.t0, day = 864e5;
  let from = null, moved = false;
  const pc = i => i / n * 100 + '%', at = (x, v) => { x.classList.remove('none'); x.setAttribute('x1', v); x.setAttribute('x2', v); };
  const bin = e => { const r = brush.getBoundingClientRect(); return Math.max(0, Math.min(n - 1, Math.floor((e.clientX - r.left) / r.width * n))); };
  const draw = (p, q) => {
    const [l, h] = p < q ? [p, q] : [q, p], date = i => new Date(t0 + i * day).toISOString().slice(0, 10);
    sel.setAttribute('x', pc(l)); sel.setAttribute('width', pc(h - l + 1)); at(edges[0], pc(l)); at(edges[1], pc(h + 1));
    $$('.bar', brush).forEach((b, i) => b.classList.toggle('hot', i >= l && i <= h));
    $('#from').value = date(l); $('#to').value = date(h);
  };
  brush.addEventListener('pointerdown', e => { from = bin(e); brush.setPointerCapture(e.pointerId); draw(from, from); });
  brush.addEventListener('pointermove', e => { if (from != null) { moved = true; draw(from, bin(e)); } });
  brush.addEventListener('pointerup', () => { if (from != null) { from = null; $('#filters').requestSubmit(); } });
}
// A choice in a list is meant at once; empty fields do not belong into the address.
const filters = $('#filters');
if (filters) {
  filters.addEventListener('change', e => { if (e.target.tagName === 'SELECT') filters.requestSubmit(); });
  filters.addEventListener('submit', () => $$('input, select', filters).forEach(f => { f.disabled = f.value === ''; }));
  addEventListener('pageshow', () => $$('input, select', filters).forEach(f => { f.disabled = false; }));
}

// Live. The server says the position of the newest event whenever it has moved. What is under the pointer does not move:
// then the news are announced, and come on a click.
const live = $('#live');
let seen = +document.body.dataset.last || 0;
const isBusy = () => $('#news table:hover, #news ol:hover') || $('#news details[open], #news tr.body:not([hidden])')
  || ($('#news')?.contains(document.activeElement) && document.activeElement !== document.body);
const refresh = async last => {
  const page = await fetchPage(location.href);
  const now = $('#news', page); if (!now) return;
  $('#news').replaceWith(document.adoptNode(now)); cur = -1; seen = last;
  const bar = $('.top nav', page); if (bar) $('.top nav').replaceWith(document.adoptNode(bar));
  say('Live', 'ok');
};
const say = (words, kind, onclick) => {
  const tag = onclick ? 'button' : 'span';
  const chip = el(tag, { id: 'live', class: `chip ${kind}${kind === 'ok' ? ' live' : ''}`, 'data-live': live.dataset.live, role: onclick ? null : 'status' }, words);
  if (onclick) { chip.type = 'button'; chip.addEventListener('click', onclick); }
  $('#live').replaceWith(chip);
};
const news = async last => {
  if (live.dataset.live === 'chip') {
    if (last === seen) return;
    const part = await fetchPage(Replay.address()); const version = +$('#replay', part).dataset.version;
    seen = last;
    if (version > Replay.version) say(`Version ${commas(version)} is there`, 'on', () => { location.search = `?v=${version}`; });
    return;
  }
  if (last === seen) { say('Live', 'ok'); return; }
  const away = live.dataset.live === 'log' && scrollY > 60;
  if (isBusy() || away) { const n = last - seen; say(n > 0 ? `${commas(n)} new event${n === 1 ? '' : 's'}` : 'News', 'on', () => refresh(last)); }
  else await refresh(last);
};
if (live && live.dataset.live === 'poll') {
  const timer = setInterval(async () => {
    const page = await fetchPage(location.href).catch(() => null); if (!page) return;
    $('#news').replaceWith(document.adoptNode($('#news', page)));
    if (!$('#live', page)) { clearInterval(timer); $('#live').remove(); }
  }, 1000);
} else if (live) {
  let source = null;
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource('/live');
    source.addEventListener('message', e => { news(+e.data).catch(() => {}); });
    source.addEventListener('error', () => { if (live.dataset.live !== 'chip') say('Not connected', 'warn'); });
  };
  // A browser opens six connections to a server at most: a tab that nobody sees must not hold one.
  document.addEventListener('visibilitychange', () => { if (document.hidden) { source?.close(); source = null; } else listen(); });
  addEventListener('pagehide', () => { source?.close(); source = null; });
  addEventListener('pageshow', listen);
}
})();
