// The terminal is served beside this page's scripts (pages.ts).
export { Terminal } from '@xterm/xterm';
