// Natural order: "pod-2" comes before "pod-10". Compares code units, never the locale, so that the
// same cluster is drawn the same way on every machine.

const PART = /(\d+)/;

export function naturalCompare(a: string, b: string): number {
  const left = a.split(PART);
  const right = b.split(PART);
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i += 1) {
    const x = left[i] as string;
    const y = right[i] as string;
    if (x === y) continue;
    // split() with a capturing group puts the digits at the odd places.
    const order = i % 2 === 1 ? compareDigits(x, y) : x < y ? -1 : 1;
    if (order !== 0) return order;
  }
  return left.length - right.length || (a < b ? -1 : a > b ? 1 : 0);
}

function compareDigits(a: string, b: string): number {
  const x = a.replace(/^0+/, "");
  const y = b.replace(/^0+/, "");
  if (x.length !== y.length) return x.length - y.length;
  return x < y ? -1 : x > y ? 1 : 0;
}
