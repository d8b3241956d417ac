export interface Bitmap {
  /** Modules on each side, without the quiet zone. */
  readonly size: number;
  /** Whether a module is dark; those outside are light. */
  get(x: number, y: number): boolean;
}

export function generate(text: string): Bitmap;
