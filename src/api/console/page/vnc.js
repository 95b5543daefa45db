// A server's screen: its picture, its keyboard and its pointer.
import { CONTROL_ALT_DELETE, keysymOf } from './keys.js';
import { keyMessage, pointerMessage, showScreen } from './rfb.js';
import { lastWords, openConsole, say } from './token.js';

const WHEEL_UP = 8;
const WHEEL_DOWN = 16;

const canvas = document.createElement('canvas');
canvas.tabIndex = 0;
document.getElementById('console')?.append(canvas);
const reset = /** @type {HTMLButtonElement} */ (document.getElementById('reset'));
const socket = openConsole();
/** Keys that are down, so that none stays down when the page is left. @type {Map<string, number>} */
const down = new Map();

/** @param {Uint8Array<ArrayBuffer>} message */
const send = (message) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(message);
};

let wasOpen = false;
showScreen(socket, canvas, (name) => {
  wasOpen = true;
  say(name);
  reset.hidden = false;
  canvas.focus();
}).catch((error) => {
  socket.close();
  say(socket.readyState === WebSocket.OPEN ? String(error) : lastWords(wasOpen));
});

canvas.addEventListener('keydown', (event) => {
  event.preventDefault();
  const keysym = keysymOf(event);
  if (keysym === null) return;
  down.set(event.code, keysym);
  send(keyMessage(keysym, true));
});
canvas.addEventListener('keyup', (event) => {
  event.preventDefault();
  release(event.code);
});
canvas.addEventListener('blur', () => [...down.keys()].forEach(release));

/** @param {string} code */
function release(code) {
  const keysym = down.get(code);
  if (keysym !== undefined) send(keyMessage(keysym, false));
  down.delete(code);
}

reset.addEventListener('click', () => {
  for (const keysym of CONTROL_ALT_DELETE) send(keyMessage(keysym, true));
  for (const keysym of CONTROL_ALT_DELETE.toReversed()) send(keyMessage(keysym, false));
  canvas.focus();
});

/** The browser counts left 1, right 2, middle 4. @param {number} buttons */
const buttonsOf = (buttons) => (buttons & 1) | ((buttons & 4) >> 1) | ((buttons & 2) << 1);

/** @param {MouseEvent} event @param {number} [wheel] */
function point(event, wheel = 0) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) * canvas.width) / box.width);
  const y = Math.floor(((event.clientY - box.top) * canvas.height) / box.height);
  const inside = (/** @type {number} */ value, /** @type {number} */ size) => Math.max(0, Math.min(value, size - 1));
  send(pointerMessage(buttonsOf(event.buttons) | wheel, inside(x, canvas.width), inside(y, canvas.height)));
}

for (const name of /** @type {const} */ (['pointerdown', 'pointermove', 'pointerup'])) {
  canvas.addEventListener(name, (event) => point(event));
}
canvas.addEventListener('contextmenu', (event) => event.preventDefault());
canvas.addEventListener(
  'wheel',
  (event) => {
    event.preventDefault();
    point(event, event.deltaY < 0 ? WHEEL_UP : WHEEL_DOWN);
    point(event);
  },
  { passive: false },
);
