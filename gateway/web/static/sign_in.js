// A link ends in #TOKEN: the part after # never reaches a server's log, so it is handed over here.
function handOver() {
  const token = decodeURIComponent(location.hash.slice(1));
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = token;
  document.getElementById("sign-in").requestSubmit();
}

addEventListener("hashchange", handOver);
handOver();
