// RFB 3.8 (RFC 6143), the client's side: what a screen shows, drawn on a canvas; keys and pointer the other way.
//
// One loop reads the messages in their order, from bytes as they come. An update is asked for when the one before has
// been drawn, so a slow browser gets fewer of them. Pixels come in the canvas's own order, raw or through one zlib stream.
// Only a server without a password is spoken to: the proxy has checked the token.

const RAW = 0;
const COPY = 1;
const ZLIB = 6;
const NEW_SIZE = -223;
const ENCODINGS = [ZLIB, COPY, RAW, NEW_SIZE];
/** More than any screen has. */
const MAX_SIDE = 16384;

/** Bytes that come in pieces and are read in other pieces. */
class Bytes {
  /** @type {Uint8Array[]} */
  #pieces = [];
  #length = 0;
  #wake = () => {};
  #ended = false;

  /** @param {Uint8Array} piece */
  push(piece) {
    this.#pieces.push(piece);
    this.#length += piece.length;
    this.#wake();
  }

  end() {
    this.#ended = true;
    this.#wake();
  }

  /** The next `length` bytes. Rejects when they will never come. @param {number} length */
  async read(length) {
    while (this.#length < length) {
      if (this.#ended) throw new Error('the console has ended');
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
      });
    }
    const result = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const piece = /** @type {Uint8Array} */ (this.#pieces.shift());
      const part = piece.subarray(0, length - filled);
      if (part.length < piece.length) this.#pieces.unshift(piece.subarray(part.length));
      result.set(part, filled);
      filled += part.length;
    }
    this.#length -= length;
    return result;
  }

  /** @param {number} length */
  async view(length) {
    return new DataView((await this.read(length)).buffer);
  }
}

/** What zlib makes of its bytes: one stream for as long as the screen is shown. */
class Inflater {
  #stream = new DecompressionStream('deflate');
  #writer = this.#stream.writable.getWriter();
  #output = new Bytes();

  constructor() {
    void this.#collect();
  }

  /** @param {Uint8Array<ArrayBuffer>} input @param {number} length of what comes out */
  async inflate(input, length) {
    // Not waited for: it may be taken only once its output has been read.
    this.#writer.write(input).catch(() => this.#output.end());
    return this.#output.read(length);
  }

  async #collect() {
    try {
      for await (const piece of /** @type {any} */ (this.#stream.readable)) this.#output.push(piece);
    } finally {
      this.#output.end();
    }
  }
}

/**
 * Shows a screen until the console ends, when it rejects. `onReady` is told the screen's name.
 * @param {WebSocket} socket open or about to be
 * @param {HTMLCanvasElement} canvas
 * @param {(name: string) => void} onReady
 */
export async function showScreen(socket, canvas, onReady) {
  const bytes = new Bytes();
  socket.addEventListener('message', ({ data }) => bytes.push(new Uint8Array(data)));
  socket.addEventListener('close', () => bytes.end());
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { alpha: false }));
  const inflater = new Inflater();

  const name = await shakeHands();
  onReady(name);
  askForUpdate(0);
  for (;;) await takeMessage();

  async function shakeHands() {
    const greeting = new TextDecoder().decode(await bytes.read(12));
    if (!/^RFB 003\.00[378]\n$/.test(greeting)) throw new Error('this is no RFB server');
    send(new TextEncoder().encode('RFB 003.008\n'));
    const [count = 0] = await bytes.read(1);
    if (count === 0) throw new Error('the screen is refused');
    const ways = await bytes.read(count);
    if (!ways.includes(1)) throw new Error('the screen wants a password');
    send([1]);
    if ((await bytes.view(4)).getUint32(0) !== 0) throw new Error('the screen is refused');
    // Shared: others may look as well.
    send([1]);
    const start = await bytes.view(24);
    resize(start.getUint16(0), start.getUint16(2));
    const title = new TextDecoder().decode(await bytes.read(start.getUint32(20)));
    // Red, green and blue in the canvas's order: 32 bits, little-endian, true colour.
    send([0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0]);
    const encodings = new DataView(new ArrayBuffer(4 + 4 * ENCODINGS.length));
    encodings.setUint8(0, 2);
    encodings.setUint16(2, ENCODINGS.length);
    ENCODINGS.forEach((encoding, index) => {
      encodings.setInt32(4 + 4 * index, encoding);
    });
    send(new Uint8Array(encodings.buffer));
    return title;
  }

  async function takeMessage() {
    const [type] = await bytes.read(1);
    switch (type) {
      case 0:
        return takeUpdate();
      case 1: {
        // Colours of a palette, which there is not.
        const head = await bytes.view(5);
        await bytes.read(6 * head.getUint16(3));
        return;
      }
      case 2:
        // The bell.
        return;
      case 3: {
        const head = await bytes.view(7);
        await bytes.read(head.getUint32(3));
        return;
      }
      default:
        throw new Error(`the screen says what is not understood: ${type}`);
    }
  }

  async function takeUpdate() {
    const head = await bytes.view(3);
    let whole = false;
    for (let left = head.getUint16(1); left > 0; left -= 1) {
      const box = await bytes.view(12);
      const [x, y, width, height] = [box.getUint16(0), box.getUint16(2), box.getUint16(4), box.getUint16(6)];
      const encoding = box.getInt32(8);
      if (encoding === NEW_SIZE) {
        resize(width, height);
        whole = true;
      } else await draw(encoding, x, y, width, height);
    }
    askForUpdate(whole ? 0 : 1);
  }

  /** @param {number} encoding @param {number} x @param {number} y @param {number} width @param {number} height */
  async function draw(encoding, x, y, width, height) {
    if (encoding === COPY) {
      const from = await bytes.view(4);
      context.drawImage(canvas, from.getUint16(0), from.getUint16(2), width, height, x, y, width, height);
      return;
    }
    if (encoding !== RAW && encoding !== ZLIB) throw new Error(`an encoding that was not asked for: ${encoding}`);
    const length = 4 * width * height;
    const pixels = encoding === RAW ? await bytes.read(length) : await inflated(length);
    if (length === 0) return;
    for (let at = 3; at < length; at += 4) pixels[at] = 255;
    context.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), x, y);
  }

  /** @param {number} length */
  async function inflated(length) {
    const size = (await bytes.view(4)).getUint32(0);
    return inflater.inflate(await bytes.read(size), length);
  }

  /** @param {number} width @param {number} height */
  function resize(width, height) {
    if (width > MAX_SIDE || height > MAX_SIDE) throw new Error('the screen is too large');
    canvas.width = width;
    canvas.height = height;
  }

  /** @param {0 | 1} changesOnly */
  function askForUpdate(changesOnly) {
    const { width, height } = canvas;
    send([3, changesOnly, 0, 0, 0, 0, width >> 8, width & 255, height >> 8, height & 255]);
  }

  /** @param {ArrayLike<number>} message */
  function send(message) {
    if (socket.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(message));
  }
}

/** @param {number} keysym @param {boolean} down */
export const keyMessage = (keysym, down) => {
  const message = new DataView(new ArrayBuffer(8));
  message.setUint8(0, 4);
  message.setUint8(1, down ? 1 : 0);
  message.setUint32(4, keysym);
  return new Uint8Array(message.buffer);
};

/** `buttons`: 1 left, 2 middle, 4 right, 8 and 16 the wheel. @param {number} buttons @param {number} x @param {number} y */
export const pointerMessage = (buttons, x, y) => Uint8Array.from([5, buttons, x >> 8, x & 255, y >> 8, y & 255]);
