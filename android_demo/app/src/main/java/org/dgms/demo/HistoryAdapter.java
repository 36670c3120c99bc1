package org.dgms.demo;

import android.content.Context;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.TextView;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.ResultStore;

/** The rows of the history: model, verdict, device and date. */
final class HistoryAdapter extends BaseAdapter {
  /** Hears that a row's menu is wanted. */
  interface MoreListener {
    void onMore(ResultStore.Entry entry, View button);
  }

  private final Context context;
  private final MoreListener listener;
  private List<ResultStore.Entry> entries = Collections.emptyList();

  HistoryAdapter(Context context, MoreListener listener) {
    this.context = context;
    this.listener = listener;
  }

  /** Shows these results and no others. */
  void show(List<ResultStore.Entry> shown) {
    entries = shown;
    notifyDataSetChanged();
  }

  @Override
  public int getCount() {
    return entries.size();
  }

  @Override
  public ResultStore.Entry getItem(int position) {
    return entries.get(position);
  }

  @Override
  public long getItemId(int position) {
    return position;
  }

  @Override
  public View getView(int position, View reused, ViewGroup parent) {
    View row =
        reused != null
            ? reused
            : LayoutInflater.from(context).inflate(R.layout.history_row, parent, false);
    final ResultStore.Entry entry = entries.get(position);
    TextView title = row.findViewById(R.id.row_title);
    TextView verdict = row.findViewById(R.id.row_verdict);
    TextView note = row.findViewById(R.id.row_note);
    if (entry.result() == null) {
      title.setText(entry.file().getName());
      verdict.setText(R.string.history_damaged);
      verdict.setTextColor(context.getColor(R.color.bad));
      note.setText(entry.problem());
    } else {
      fill(entry.result(), title, verdict, note);
    }
    row.findViewById(R.id.row_more)
        .setOnClickListener(
            new View.OnClickListener() {
              @Override
              public void onClick(View button) {
                listener.onMore(entry, button);
              }
            });
    return row;
  }

  private void fill(BenchmarkResult result, TextView title, TextView verdict, TextView note) {
    Locale locale = context.getResources().getConfiguration().getLocales().get(0);
    ResultText text = new ResultText(context, result);
    Double ratio = text.ratio();
    title.setText(result.model().title());
    if (ratio == null) {
      verdict.setText(text.headline());
      verdict.setTextColor(context.getColor(R.color.text_primary));
    } else {
      verdict.setText(
          context.getString(
              R.string.history_ratio,
              Formats.ratio(ratio, locale),
              PathStyle.inSentence(context, result.peer())));
      verdict.setTextColor(context.getColor(ratio <= 1 ? R.color.good : R.color.bad));
    }
    String date = Formats.date(context, result.created());
    boolean throttled = Boolean.TRUE.equals(result.throttled());
    note.setText(throttled ? context.getString(R.string.history_throttled, date) : date);
    note.setTextColor(context.getColor(throttled ? R.color.bad : R.color.text_secondary));
  }
}
