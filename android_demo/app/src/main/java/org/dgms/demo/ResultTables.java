package org.dgms.demo;

import android.app.Activity;
import android.view.View;
import android.widget.TableLayout;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.DelegateClaim;
import org.dgms.demo.bench.NodeTime;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.PathResult;

/** The figures of a result in rows and columns. */
final class ResultTables {
  private ResultTables() {}

  /** One column for each path that was timed, one row for each figure. */
  static void showPaths(Activity activity, BenchmarkResult result) {
    TableLayout table = activity.findViewById(R.id.result_table);
    table.removeAllViews();
    List<PathResult> paths = new ArrayList<PathResult>();
    for (PathKind kind : SettingsForm.ORDER) {
      PathResult path = result.path(kind);
      if (path != null && path.succeeded()) {
        paths.add(path);
      }
    }
    if (paths.isEmpty()) {
      return;
    }
    CharSequence[] names = new CharSequence[paths.size() + 1];
    int[] colors = new int[names.length];
    names[0] = activity.getString(R.string.table_unit);
    colors[0] = activity.getColor(R.color.text_secondary);
    for (int i = 0; i < paths.size(); i++) {
      names[i + 1] = PathStyle.name(activity, paths.get(i).kind());
      colors[i + 1] = PathStyle.color(activity, paths.get(i).kind());
    }
    Tables.addHeading(table, names, colors);
    Figure[] figures = Figure.values();
    Locale locale = activity.getResources().getConfiguration().getLocales().get(0);
    for (Figure figure : figures) {
      CharSequence[] cells = new CharSequence[names.length];
      cells[0] = activity.getString(figure.title);
      for (int i = 0; i < paths.size(); i++) {
        cells[i + 1] = figure.of(paths.get(i), locale);
      }
      Tables.addRow(table, cells, figure == Figure.MEDIAN);
    }
  }

  /** The rows of the table. */
  private enum Figure {
    MEDIAN(R.string.figure_median),
    P90(R.string.figure_p90),
    P99(R.string.figure_p99),
    MEAN(R.string.figure_mean),
    SD(R.string.figure_sd),
    MIN(R.string.figure_min),
    INIT(R.string.figure_init),
    FIRST(R.string.figure_first),
    NODES(R.string.figure_nodes),
    MEMORY(R.string.figure_memory),
    DIFFERENCE(R.string.figure_difference),
    AGREEMENT(R.string.figure_agreement);

    final int title;

    Figure(int title) {
      this.title = title;
    }

    String of(PathResult path, Locale locale) {
      switch (this) {
        case MEDIAN:
          return Formats.number(path.medianMs(), locale);
        case P90:
          return Formats.number(path.p90Ms(), locale);
        case P99:
          return Formats.number(path.p99Ms(), locale);
        case MEAN:
          return Formats.number(path.meanMs(), locale);
        case SD:
          return Formats.number(path.sdMs(), locale);
        case MIN:
          return Formats.number(path.minMs(), locale);
        case INIT:
          return Formats.number(path.initMs(), locale);
        case FIRST:
          return Formats.number(path.firstMs(), locale);
        case NODES:
          return path.claim() == null ? "–" : String.valueOf(path.claim().nodes());
        case MEMORY:
          return Formats.bytes(path.rssGrowthBytes(), locale);
        case DIFFERENCE:
          return Formats.difference(path.maxAbsDifference(), locale);
        default:
          return Formats.percent(path.top1Agreement(), locale);
      }
    }
  }

  /** The delegate's own nodes, in the order in which they run; hidden where there are none. */
  static void showCounters(Activity activity, BenchmarkResult result) {
    PathResult delegate = result.path(PathKind.DELEGATE);
    List<NodeTime> nodes = delegate == null ? null : delegate.counters();
    DelegateClaim claim = delegate == null ? null : delegate.claim();
    boolean shown = claim != null || (nodes != null && !nodes.isEmpty());
    activity.findViewById(R.id.counters_card).setVisibility(shown ? View.VISIBLE : View.GONE);
    Locale locale = activity.getResources().getConfiguration().getLocales().get(0);
    StringBuilder note = new StringBuilder();
    if (claim != null) {
      note.append(
          activity.getString(
              R.string.claim,
              claim.operators(),
              claim.candidates(),
              claim.nodes(),
              Formats.bytes(claim.packedBytes(), locale)));
      for (String refusal : claim.refusals()) {
        note.append("\n• ").append(refusal);
      }
    }
    TableLayout table = activity.findViewById(R.id.counters);
    table.removeAllViews();
    if (nodes != null && !nodes.isEmpty()) {
      note.append(note.length() == 0 ? "" : "\n\n")
          .append(activity.getString(R.string.counters_note));
      addCounters(activity, table, nodes, locale);
    }
    ((TextView) activity.findViewById(R.id.counters_note)).setText(note);
  }

  private static void addCounters(
      Activity activity, TableLayout table, List<NodeTime> nodes, Locale locale) {
    double total = 0;
    for (NodeTime node : nodes) {
      total += node.totalMs();
    }
    Tables.addHeading(table, activity.getResources().getTextArray(R.array.counter_columns), null);
    for (NodeTime node : nodes) {
      Tables.addRow(
          table,
          new CharSequence[] {
            shortName(node.name()),
            Formats.number(node.meanMs(), locale),
            Formats.percent(total == 0 ? null : Double.valueOf(node.totalMs() / total), locale),
            node.fastestMs() == 0
                ? "–"
                : String.format(locale, "%.1f", node.macs() / (node.fastestMs() * 1e6)),
            node.kernel()
          },
          false);
    }
  }

  /** The last part of "model/block1/conv", but never nothing. */
  private static String shortName(String name) {
    String first = name.split(";", 2)[0];
    String[] parts = first.split("/");
    return parts.length < 2 ? first : parts[parts.length - 2] + "/" + parts[parts.length - 1];
  }
}
