/** A line for the person who started it. */
export const say = (line: string): void => void process.stdout.write(`${line}\n`);
