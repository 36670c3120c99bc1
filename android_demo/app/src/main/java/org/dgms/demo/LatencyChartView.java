package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.graphics.Path;
import android.util.AttributeSet;

/**
 * Latency of every run over the time at which it began, one line for each path. The vertical axis
 * begins at 0 and ends a little above the 99th percentiles, but not beyond a few times the slowest
 * median, so that hiccups do not flatten the rest; runs beyond it stand as hollow triangles at the
 * upper edge.
 */
public final class LatencyChartView extends ChartView {
  /** Markers stand on every run up to so many, and on every n-th beyond. */
  private static final int MARKERS = 60;

  /** Most that the axis shows, in slowest medians. */
  private static final double HIGHEST = 2.5;

  private final Path path = new Path();
  private float left;
  private float right;
  private float top;
  private float bottom;
  private double endMs;
  private double highMs;

  /** Made by the layout inflater. */
  public LatencyChartView(Context context, AttributeSet attributes) {
    super(context, attributes);
  }

  @Override
  protected void onMeasure(int widthSpec, int heightSpec) {
    int width = getDefaultSize(getSuggestedMinimumWidth(), widthSpec);
    int wanted = (int) (legendHeight(width) + dp(176) + horizontalAxisHeight() + lineHeight());
    setMeasuredDimension(
        width, resolveSize(Math.max(wanted, getSuggestedMinimumHeight()), heightSpec));
  }

  @Override
  protected String describe() {
    if (series.isEmpty()) {
      return getContext().getString(R.string.chart_empty);
    }
    StringBuilder words = new StringBuilder();
    double end = 0;
    for (LatencySeries s : series) {
      end = Math.max(end, s.startsMs[s.startsMs.length - 1]);
      words.append(
          getContext()
              .getString(
                  R.string.chart_latency_path,
                  PathStyle.name(getContext(), s.kind),
                  s.runsMs.length,
                  Formats.ms(s.medianMs(), locale()),
                  Formats.ms(s.percentileMs(0), locale()),
                  Formats.ms(s.percentileMs(100), locale())));
    }
    return getContext()
        .getString(R.string.chart_latency_summary, Formats.seconds(end / 1e3, locale()), words);
  }

  @Override
  protected void onDraw(Canvas canvas) {
    if (series.isEmpty()) {
      text.setTextAlign(Paint.Align.CENTER);
      drawMiddle(
          canvas, getContext().getString(R.string.chart_empty), getWidth() / 2f, getHeight() / 2f);
      text.setTextAlign(Paint.Align.LEFT);
      return;
    }
    scale();
    drawLegend(canvas);
    drawVerticalAxis(canvas);
    drawHorizontalAxis(
        canvas,
        0,
        endMs / 1e3,
        left,
        right,
        top,
        bottom,
        getContext().getString(R.string.axis_seconds));
    for (LatencySeries s : series) {
      drawSeries(canvas, s);
    }
  }

  private void scale() {
    endMs = 1;
    highMs = 0;
    double slowestMs = 0;
    for (LatencySeries s : series) {
      int last = s.runsMs.length - 1;
      endMs = Math.max(endMs, s.startsMs[last] + s.runsMs[last]);
      highMs = Math.max(highMs, Math.max(1.12 * s.percentileMs(99), 1.3 * s.medianMs()));
      slowestMs = Math.max(slowestMs, s.medianMs());
    }
    highMs = Math.min(highMs, HIGHEST * slowestMs);
    if (highMs <= 0) {
      highMs = 1;
    }
    Ticks ticks = verticalTicks();
    float widest = 0;
    for (int i = 0; i < ticks.count; i++) {
      widest = Math.max(widest, text.measureText(ticks.label(i, locale())));
    }
    left = getPaddingLeft() + widest + dp(8);
    right = getWidth() - getPaddingRight() - dp(8);
    top = legendHeight(getWidth()) + lineHeight() + dp(4);
    bottom = getHeight() - getPaddingBottom() - horizontalAxisHeight();
  }

  private Ticks verticalTicks() {
    return Ticks.of(0, highMs, 5);
  }

  private void drawVerticalAxis(Canvas canvas) {
    Ticks ticks = verticalTicks();
    for (int i = 0; i < ticks.count; i++) {
      float y = y(ticks.at(i));
      canvas.drawLine(left, y, right, y, grid);
      text.setTextAlign(Paint.Align.RIGHT);
      drawMiddle(canvas, ticks.label(i, locale()), left - dp(6), y);
    }
    text.setTextAlign(Paint.Align.LEFT);
    canvas.drawText(
        getContext().getString(R.string.axis_ms),
        getPaddingLeft(),
        top - dp(4) - text.descent(),
        text);
  }

  private void drawSeries(Canvas canvas, LatencySeries s) {
    int color = PathStyle.color(getContext(), s.kind);
    line.setColor(color);
    line.setAlpha(190);
    fill.setColor(color);
    fill.setStyle(Paint.Style.FILL);
    int count = s.runsMs.length;
    tracePath(s, count);
    canvas.drawPath(path, line);
    int every = (count + MARKERS - 1) / MARKERS;
    float marked = Float.NEGATIVE_INFINITY;
    for (int i = 0; i < count; i++) {
      if (s.runsMs[i] > highMs) {
        if (x(s.startsMs[i]) - marked >= dp(8)) { // One mark for hiccups side by side.
          marked = x(s.startsMs[i]);
          drawBeyond(canvas, marked, color);
        }
      } else if (i % every == 0) {
        PathStyle.drawMarker(canvas, s.kind, x(s.startsMs[i]), y(s.runsMs[i]), dp(2.6f), fill);
      }
    }
  }

  /**
   * Makes the line through the runs that the axis holds. Where there are more runs than pixels,
   * each column shows its fastest and its slowest run.
   */
  private void tracePath(LatencySeries s, int count) {
    path.rewind();
    int group = (int) Math.max(1, Math.ceil(2.0 * count / Math.max(1, right - left)));
    for (int begin = 0; begin < count; begin += group) {
      double low = Double.POSITIVE_INFINITY;
      double high = 0;
      for (int i = begin; i < Math.min(count, begin + group); i++) {
        if (s.runsMs[i] <= highMs) {
          low = Math.min(low, s.runsMs[i]);
          high = Math.max(high, s.runsMs[i]);
        }
      }
      if (low > high) {
        continue; // Only hiccups, which have their own marks.
      }
      float x = x(s.startsMs[begin]);
      if (path.isEmpty()) {
        path.moveTo(x, y(low));
      } else {
        path.lineTo(x, y(low));
      }
      if (high > low) {
        path.lineTo(x, y(high));
      }
    }
  }

  private void drawBeyond(Canvas canvas, float x, int color) {
    line.setColor(color);
    path.rewind();
    path.moveTo(x - dp(3), top + dp(5));
    path.lineTo(x, top);
    path.lineTo(x + dp(3), top + dp(5));
    path.close();
    canvas.drawPath(path, line);
  }

  private float x(double ms) {
    return (float) (left + ms / endMs * (right - left));
  }

  private float y(double ms) {
    return (float) (bottom - Math.min(ms, highMs) / highMs * (bottom - top));
  }

  private float legendHeight(int width) {
    return layoutLegend(null, width);
  }

  private void drawLegend(Canvas canvas) {
    layoutLegend(canvas, getWidth());
  }

  /**
   * Places the legend's entries, as many in a row as fit; draws them where there is a canvas.
   * Returns the height.
   */
  private float layoutLegend(Canvas canvas, int width) {
    float row = lineHeight() + dp(6);
    float x = getPaddingLeft();
    float y = getPaddingTop();
    for (LatencySeries s : series) {
      String name = PathStyle.name(getContext(), s.kind);
      float size = dp(26) + text.measureText(name) + dp(14);
      if (x > getPaddingLeft() && x + size - dp(14) > width - getPaddingRight()) {
        x = getPaddingLeft();
        y += row;
      }
      if (canvas != null) {
        int color = PathStyle.color(getContext(), s.kind);
        line.setColor(color);
        fill.setColor(color);
        fill.setStyle(Paint.Style.FILL);
        canvas.drawLine(x, y + row / 2, x + dp(20), y + row / 2, line);
        PathStyle.drawMarker(canvas, s.kind, x + dp(10), y + row / 2, dp(4), fill);
        drawMiddle(canvas, name, x + dp(26), y + row / 2);
      }
      x += size;
    }
    return y + row + dp(2);
  }
}
