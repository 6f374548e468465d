// Sorts a table by the column whose header button was pressed; empty cells stay last either way.
document.querySelectorAll("table.sortable thead button").forEach(function (button) {
  button.addEventListener("click", function () {
    var header = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    var column = header.cellIndex, up = header.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    var rows = Array.from(body.rows).map(function (row) {
      var cell = row.cells[column], value = cell.dataset.v;
      return { row: row, key: value === undefined ? cell.textContent : value === "" ? "" : Number(value) };
    });
    rows.sort(function (a, b) {
      if (a.key === "" || b.key === "") { return (a.key === "") - (b.key === ""); }
      var order = typeof a.key === "number" && typeof b.key === "number"
        ? a.key - b.key : String(a.key).localeCompare(String(b.key), undefined, { numeric: true });
      return up ? order : -order;
    });
    rows.forEach(function (entry) { body.appendChild(entry.row); });
  });
});
