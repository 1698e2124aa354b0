// The sheet to draw on: mouse, finger, pen or keys. Black paper and white ink, as MNIST's digits are.

const SIDE = 280, WIDTH = 22, STEP = 8;

export class Pad {
  /** `changed` is called whenever there is new ink, or none any more. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.sheet = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
    this.pen = { x: SIDE / 2, y: SIDE / 4, down: false, shown: false };
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.last = null; });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => { this.pen.shown = this.pen.down = false; this.paint(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  clear() {
    this.sheet.fillStyle = "#000";
    this.sheet.fillRect(0, 0, SIDE, SIDE);
    this.empty = true;
    this.last = null;
    this.paint();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height];
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pen.shown = this.pen.down = false;
    this.stroke(...this.place(event));
  }

  move(event) {
    if (!this.last) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) this.stroke(...this.place(each));
  }

  stroke(x, y) {
    const [fromX, fromY] = this.last ?? [x, y];
    const sheet = this.sheet;
    sheet.strokeStyle = "#fff";
    sheet.lineWidth = WIDTH;
    sheet.lineCap = sheet.lineJoin = "round";
    sheet.beginPath();
    sheet.moveTo(fromX, fromY);
    sheet.lineTo(x, y + (fromX === x && fromY === y ? 0.01 : 0));
    sheet.stroke();
    this.last = [x, y];
    this.empty = false;
    this.paint();
    this.changed();
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const pen = this.pen;
    if (event.key === " ") {
      pen.down = !pen.down;
      this.last = null;
      if (pen.down) this.stroke(pen.x, pen.y);
    } else if (moves[event.key]) {
      const [dx, dy] = moves[event.key];
      pen.x = Math.min(SIDE, Math.max(0, pen.x + STEP * dx));
      pen.y = Math.min(SIDE, Math.max(0, pen.y + STEP * dy));
      if (pen.down) this.stroke(pen.x, pen.y);
    } else return;
    event.preventDefault();
    pen.shown = true;
    this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.drawImage(this.sheet.canvas, 0, 0);
    if (this.pen?.shown) {
      context.strokeStyle = this.pen.down ? "#f0c850" : "#62b7ec";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(this.pen.x, this.pen.y, WIDTH / 2, 0, 7);
      context.stroke();
    }
  }

  /** Show a digit of the data in place of a drawing. */
  show(pixels, rows, columns) {
    this.clear();
    const small = new OffscreenCanvas(columns, rows), context = small.getContext("2d");
    const image = context.createImageData(columns, rows);
    pixels.forEach((value, i) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
    context.putImageData(image, 0, 0);
    this.sheet.imageSmoothingEnabled = false;
    this.sheet.drawImage(small, 0, 0, SIDE, SIDE);
    this.empty = false;
    this.paint();
  }

  /** The drawing as the server takes it: a byte a pixel, in base64. */
  bytes() {
    const { data } = this.sheet.getImageData(0, 0, SIDE, SIDE);
    let binary = "";
    for (let i = 0; i < data.length; i += 4) binary += String.fromCharCode(data[i]);
    return btoa(binary);
  }
}
