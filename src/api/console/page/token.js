// The token that the page was opened with, and the websocket that it opens: the page's own address, as a websocket.

// noVNC's users know `path`, which has the token in it; a serial line's address has the token as it is.
/** @param {string} search */
function tokenOf(search) {
  const query = new URLSearchParams(search);
  const path = query.get('path') ?? '';
  const inPath = new URLSearchParams(path.slice(path.indexOf('?') + 1)).get('token');
  return query.get('token') ?? inPath ?? '';
}

/** A websocket to the console; its messages are ArrayBuffers. */
export function openConsole() {
  const url = new URL(location.pathname, location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.searchParams.set('token', tokenOf(location.search));
  const socket = new WebSocket(url, 'binary');
  socket.binaryType = 'arraybuffer';
  return socket;
}

/** @param {string} text */
export function say(text) {
  const status = document.getElementById('status');
  if (status !== null) status.textContent = text;
}

/** What is said when the console ends. @param {boolean} wasOpen */
export const lastWords = (wasOpen) =>
  wasOpen
    ? 'The console has ended: the server was stopped, moved or deleted, or nobody used the console.'
    : 'The console cannot be opened: its address is good for ten minutes, and until the server stops or moves.';
