// What the page asks of the server, and what the server tells by itself.

export const SILENT = "The program does not answer.";

/** Send JSON; returns the answer, or throws an Error with the server's line. */
export async function ask(path, given) {
  const options = given === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
  };
  const answer = await fetch(path, options).catch(() => { throw new Error(SILENT); });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error);
  return result;
}

/** Call `show` with the state of the training whenever it is new, and `gone` with whether the server is away. */
export function listen(show, gone) {
  const source = new EventSource("/events");
  source.onmessage = (event) => { gone(false); show(JSON.parse(event.data)); };
  source.onerror = () => {
    gone(true);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(show, gone), 2000);
  };
}

/** Do work for the latest of many requests: while one is under way, only the last that comes is kept. */
export function latest(work) {
  let busy = false, waiting = null;
  return async function next(...given) {
    if (busy) { waiting = given; return; }
    busy = true;
    try { await work(...given); } finally {
      busy = false;
      if (waiting) { const again = waiting; waiting = null; next(...again); }
    }
  };
}
