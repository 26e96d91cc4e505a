// Point at a series and the others step back. Before printing everything folded is opened. Nothing depends on it.
for (const plot of document.querySelectorAll(".plot"))
  for (const series of plot.querySelectorAll(".series")) {
    const same = [...plot.querySelectorAll(".series")].filter((other) => other.classList[0] === series.classList[0]);
    series.addEventListener("mouseenter", () => { plot.classList.add("focus"); same.forEach((one) => one.classList.add("on")); });
    series.addEventListener("mouseleave", () => { plot.classList.remove("focus"); same.forEach((one) => one.classList.remove("on")); });
  }
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
