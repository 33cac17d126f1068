// Commands carry an id and are sent until the gateway has answered: a repeat gets the first answer.
const AGAIN = 2000;

export function mint() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing on plain HTTP
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function send(method, path, body, onWait) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      onWait?.();
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      continue;
    }
    if (answer.status === 503) {
      onWait?.();
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      continue;
    }
    return { ok: answer.ok, status: answer.status, body: await answer.json().catch(() => ({})) };
  }
}

export function act(visit, command, onWait) {
  return send("POST", `/api/v1/visits/${encodeURIComponent(visit)}/commands`, { id: mint(), ...command }, onWait);
}
