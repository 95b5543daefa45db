// Keys of a browser as the keysyms of the X Window System, which RFB speaks (RFC 6143, section 7.5.4).

/** By KeyboardEvent.code where left and right differ, else by KeyboardEvent.key. @type {Readonly<Record<string, number>>} */
const KEYSYMS = {
  ShiftLeft: 0xffe1,
  ShiftRight: 0xffe2,
  ControlLeft: 0xffe3,
  ControlRight: 0xffe4,
  AltLeft: 0xffe9,
  AltRight: 0xffea,
  MetaLeft: 0xffeb,
  MetaRight: 0xffec,
  AltGraph: 0xfe03,
  Backspace: 0xff08,
  Tab: 0xff09,
  Enter: 0xff0d,
  Pause: 0xff13,
  ScrollLock: 0xff14,
  Escape: 0xff1b,
  Home: 0xff50,
  ArrowLeft: 0xff51,
  ArrowUp: 0xff52,
  ArrowRight: 0xff53,
  ArrowDown: 0xff54,
  PageUp: 0xff55,
  PageDown: 0xff56,
  End: 0xff57,
  PrintScreen: 0xff61,
  Insert: 0xff63,
  ContextMenu: 0xff67,
  NumLock: 0xff7f,
  CapsLock: 0xffe5,
  Delete: 0xffff,
};
const F1 = 0xffbe;
/** Above this, a keysym is a Unicode character with this bit. */
const LATIN_1 = 0xff;
const UNICODE = 0x01000000;

/** Null: a key that RFB has no name for. @param {{ readonly key: string, readonly code: string }} event */
export function keysymOf({ key, code }) {
  const known = key === 'AltGraph' ? KEYSYMS[key] : (KEYSYMS[code] ?? KEYSYMS[key]);
  if (known !== undefined && key.length > 1) return known;
  const [, number] = /^F([1-9]|1[0-2])$/.exec(key) ?? [];
  if (number !== undefined) return F1 + Number(number) - 1;
  const [character, ...more] = key;
  if (character === undefined || more.length > 0) return null;
  const point = character.codePointAt(0) ?? 0;
  return point > LATIN_1 ? UNICODE | point : point;
}

export const CONTROL_ALT_DELETE = [0xffe3, 0xffe9, 0xffff];
