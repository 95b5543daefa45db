// A serial line in a terminal.
import { lastWords, openConsole, say } from './token.js';
import { Terminal } from './xterm.js';

const place = document.getElementById('console');
const terminal = new Terminal({ convertEol: true, scrollback: 5000 });
if (place !== null) terminal.open(place);
terminal.focus();

const socket = openConsole();
const encoder = new TextEncoder();
let wasOpen = false;
socket.addEventListener('open', () => {
  wasOpen = true;
  say('Connected');
  terminal.onData((text) => socket.send(encoder.encode(text)));
  terminal.onBinary((text) => socket.send(Uint8Array.from(text, (each) => each.charCodeAt(0))));
});
socket.addEventListener('message', ({ data }) => terminal.write(new Uint8Array(data)));
socket.addEventListener('close', () => say(lastWords(wasOpen)));
