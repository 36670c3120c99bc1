package org.dgms.demo;

import android.content.Context;
import android.graphics.Typeface;
import android.util.TypedValue;
import android.view.Gravity;
import android.widget.TableLayout;
import android.widget.TableRow;
import android.widget.TextView;

/** Rows of a table: the first cell names the row, the others are figures. */
final class Tables {
  private Tables() {}

  /** Adds a row of headings. Colours may be null, or hold one for each heading. */
  static void addHeading(TableLayout table, CharSequence[] cells, int[] colors) {
    TableRow row = new TableRow(table.getContext());
    for (int i = 0; i < cells.length; i++) {
      // Words below each other: a column is no wider than its longest one.
      String heading = cells[i].toString();
      TextView cell =
          cell(table.getContext(), i == 0 ? heading : heading.replace(' ', '\n'), i == 0);
      cell.setTypeface(Typeface.create("sans-serif-medium", Typeface.NORMAL));
      cell.setGravity((i == 0 ? Gravity.START : Gravity.END) | Gravity.BOTTOM);
      cell.setTextSize(TypedValue.COMPLEX_UNIT_SP, 12);
      cell.setTextColor(
          colors == null ? table.getContext().getColor(R.color.text_primary) : colors[i]);
      row.addView(cell);
    }
    table.addView(row);
  }

  /** Adds a row of figures; {@code strong} ones stand out. */
  static void addRow(TableLayout table, CharSequence[] cells, boolean strong) {
    TableRow row = new TableRow(table.getContext());
    row.setBackgroundResource(R.drawable.table_line);
    for (int i = 0; i < cells.length; i++) {
      TextView cell = cell(table.getContext(), cells[i], i == 0);
      if (strong && i > 0) {
        cell.setTypeface(Typeface.create("sans-serif-medium", Typeface.NORMAL));
      }
      row.addView(cell);
    }
    table.addView(row);
  }

  private static TextView cell(Context context, CharSequence text, boolean first) {
    TextView cell = new TextView(context);
    cell.setText(text);
    cell.setTextSize(TypedValue.COMPLEX_UNIT_SP, 13);
    cell.setTextColor(context.getColor(first ? R.color.text_secondary : R.color.text_primary));
    cell.setFontFeatureSettings("tnum");
    cell.setGravity((first ? Gravity.START : Gravity.END) | Gravity.CENTER_VERTICAL);
    cell.setPadding(first ? 0 : dp(context, 7), dp(context, 6), 0, dp(context, 6));
    return cell;
  }

  private static int dp(Context context, float value) {
    return Math.round(
        TypedValue.applyDimension(
            TypedValue.COMPLEX_UNIT_DIP, value, context.getResources().getDisplayMetrics()));
  }
}
