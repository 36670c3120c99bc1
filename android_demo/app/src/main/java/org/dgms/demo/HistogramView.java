package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.util.AttributeSet;
import org.dgms.demo.bench.Histogram;
import org.dgms.demo.bench.Statistics;

/**
 * How the runs of each path are spread: one row of bins for each path over one common axis, so that
 * nothing is hidden behind another path. Each row is scaled to its own fullest bin, whose count is
 * written beside it; a line marks the median.
 */
public final class HistogramView extends ChartView {
  private static final int BINS = 48;

  /** Most that the axis shows, in slowest medians; how many runs lie beyond is said in words. */
  private static final double HIGHEST = 2;

  private double lowMs;
  private double highMs;

  /** Made by the layout inflater. */
  public HistogramView(Context context, AttributeSet attributes) {
    super(context, attributes);
  }

  @Override
  protected void onMeasure(int widthSpec, int heightSpec) {
    int width = getDefaultSize(getSuggestedMinimumWidth(), widthSpec);
    int wanted =
        (int)
            (getPaddingTop()
                + getPaddingBottom()
                + series.size() * rowHeight()
                + horizontalAxisHeight());
    setMeasuredDimension(width, resolveSize(wanted, heightSpec));
  }

  @Override
  protected String describe() {
    if (series.isEmpty()) {
      return getContext().getString(R.string.chart_empty);
    }
    StringBuilder words = new StringBuilder();
    for (LatencySeries s : series) {
      words.append(
          getContext()
              .getString(
                  R.string.chart_histogram_path,
                  PathStyle.name(getContext(), s.kind),
                  Formats.ms(s.percentileMs(10), locale()),
                  Formats.ms(s.percentileMs(90), locale())));
    }
    return getContext().getString(R.string.chart_histogram_summary, words);
  }

  @Override
  protected void onDraw(Canvas canvas) {
    if (series.isEmpty()) {
      return;
    }
    scale();
    float left = getPaddingLeft() + dp(2);
    float right = getWidth() - getPaddingRight() - dp(8);
    float top = getPaddingTop();
    float bottom = top + series.size() * rowHeight();
    drawHorizontalAxis(
        canvas,
        lowMs,
        highMs,
        left,
        right,
        top + labelHeight(),
        bottom,
        getContext().getString(R.string.axis_ms_long));
    for (int i = 0; i < series.size(); i++) {
      drawRow(canvas, series.get(i), left, right, top + i * rowHeight());
    }
  }

  private void scale() {
    lowMs = Double.POSITIVE_INFINITY;
    highMs = 0;
    double slowestMs = 0;
    for (LatencySeries s : series) {
      lowMs = Math.min(lowMs, s.percentileMs(0));
      highMs = Math.max(highMs, Math.max(s.percentileMs(98), 1.02 * s.medianMs()));
      slowestMs = Math.max(slowestMs, s.medianMs());
    }
    highMs = Math.min(highMs, HIGHEST * slowestMs);
    double margin = Math.max(0.04 * (highMs - lowMs), 1e-6);
    lowMs = Math.max(0, lowMs - margin);
    highMs += margin;
  }

  private void drawRow(Canvas canvas, LatencySeries s, float left, float right, float top) {
    float base = top + rowHeight();
    float height = rowHeight() - labelHeight() - dp(6);
    Histogram histogram = Statistics.histogram(within(s.runsMs), lowMs, highMs, BINS);
    int most = Math.max(1, histogram.maxCount());
    int color = PathStyle.color(getContext(), s.kind);
    fill.setColor(color);
    fill.setStyle(Paint.Style.FILL);
    float width = (right - left) / histogram.bins();
    for (int bin = 0; bin < histogram.bins(); bin++) {
      if (histogram.count(bin) > 0) {
        float tall = Math.max(dp(1.5f), height * histogram.count(bin) / most);
        canvas.drawRect(left + bin * width, base - tall, left + (bin + 1) * width - 1, base, fill);
      }
    }
    canvas.drawLine(left, base, right, base, grid);
    float median = (float) (left + (s.medianMs() - lowMs) / (highMs - lowMs) * (right - left));
    int plain = text.getColor();
    fill.setColor(getContext().getColor(R.color.text_primary));
    canvas.drawRect(median - dp(0.75f), base - height - dp(4), median + dp(0.75f), base, fill);
    fill.setColor(color);
    PathStyle.drawMarker(canvas, s.kind, left + dp(5), top + labelHeight() / 2, dp(4), fill);
    text.setColor(getContext().getColor(R.color.text_primary));
    drawMiddle(
        canvas, PathStyle.name(getContext(), s.kind), left + dp(14), top + labelHeight() / 2);
    text.setColor(plain);
    text.setTextAlign(Paint.Align.RIGHT);
    drawMiddle(canvas, rowNote(s, most), right, top + labelHeight() / 2);
    text.setTextAlign(Paint.Align.LEFT);
  }

  private String rowNote(LatencySeries s, int most) {
    int beyond = s.runsMs.length - within(s.runsMs).length;
    String note = getResources().getQuantityString(R.plurals.histogram_tallest, most, most);
    if (beyond > 0) {
      note += getResources().getQuantityString(R.plurals.histogram_beyond, beyond, beyond);
    }
    return note;
  }

  private double[] within(double[] values) {
    double[] kept = new double[values.length];
    int count = 0;
    for (double value : values) {
      if (value <= highMs) {
        kept[count++] = value;
      }
    }
    return java.util.Arrays.copyOf(kept, count);
  }

  private float labelHeight() {
    return lineHeight() + dp(6);
  }

  private float rowHeight() {
    return labelHeight() + dp(46);
  }
}
