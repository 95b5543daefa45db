// What other programs say, which may be of any length and hold anything.

/** The text of an answer of so many bytes at most. @throws Error for a longer one, and what a broken connection throws */
export async function readLimited(response: Response, most: number): Promise<string> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.byteLength;
    if (size > most) throw new Error(`the answer is longer than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The JSON of a text; undefined, which no schema allows, when it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the caller says that it is not understood.
    return undefined;
  }
}
