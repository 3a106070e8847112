// What keys say by themselves.

/** The node of a namespace's or a link's key. */
export function nodeOfKey(key: string): string {
  return key.slice(0, key.indexOf(":"));
}
