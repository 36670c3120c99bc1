package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.util.AttributeSet;
import android.util.TypedValue;
import android.view.View;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;

/**
 * What the charts share: the series, the pens, and axes with round ticks. Colours come from the
 * theme, sizes from the font scale.
 */
abstract class ChartView extends View {
  /** What is drawn; empty until {@link #setSeries}. */
  protected List<LatencySeries> series = Collections.emptyList();

  /** Text of ticks and legends. */
  protected final Paint text = new Paint(Paint.ANTI_ALIAS_FLAG);

  /** Grid lines and axes. */
  protected final Paint grid = new Paint();

  /** Areas and markers; the colour is set before each use. */
  protected final Paint fill = new Paint(Paint.ANTI_ALIAS_FLAG);

  /** Lines of the data; the colour is set before each use. */
  protected final Paint line = new Paint(Paint.ANTI_ALIAS_FLAG);

  protected ChartView(Context context, AttributeSet attributes) {
    super(context, attributes);
    text.setColor(context.getColor(R.color.text_secondary));
    text.setTextSize(sp(12));
    grid.setColor(context.getColor(R.color.chart_grid));
    grid.setStrokeWidth(Math.max(1, dp(1)));
    line.setStyle(Paint.Style.STROKE);
    line.setStrokeWidth(dp(1.5f));
    line.setStrokeJoin(Paint.Join.ROUND);
    setImportantForAccessibility(IMPORTANT_FOR_ACCESSIBILITY_YES);
  }

  /** Shows these series; the view's content description says the same in words. */
  final void setSeries(List<LatencySeries> shown) {
    boolean resized = shown.size() != series.size();
    series = Collections.unmodifiableList(new ArrayList<LatencySeries>(shown));
    setContentDescription(describe());
    if (resized) {
      requestLayout();
    }
    invalidate();
  }

  /** The chart in words. */
  protected abstract String describe();

  /** The locale of numbers. */
  protected final Locale locale() {
    return getResources().getConfiguration().getLocales().get(0);
  }

  protected final float dp(float value) {
    return TypedValue.applyDimension(
        TypedValue.COMPLEX_UNIT_DIP, value, getResources().getDisplayMetrics());
  }

  protected final float sp(float value) {
    return TypedValue.applyDimension(
        TypedValue.COMPLEX_UNIT_SP, value, getResources().getDisplayMetrics());
  }

  /** Height of a line of text, in pixels. */
  protected final float lineHeight() {
    return text.getFontSpacing();
  }

  /** Draws text with its vertical middle at {@code y}. */
  protected final void drawMiddle(Canvas canvas, String words, float x, float y) {
    canvas.drawText(words, x, y - (text.ascent() + text.descent()) / 2, text);
  }

  /**
   * Draws a horizontal axis of milliseconds or seconds: ticks with labels below {@code bottom}, its
   * title under them and grid lines up to {@code top}. Where there is no room for the title, its
   * first word stands for it.
   */
  protected final void drawHorizontalAxis(
      Canvas canvas,
      double low,
      double high,
      float left,
      float right,
      float top,
      float bottom,
      String title) {
    int room = (int) Math.max(2, (right - left) / Math.max(text.measureText("0.000") * 1.6f, 1));
    Ticks ticks = Ticks.of(low, high, Math.min(8, room));
    text.setTextAlign(Paint.Align.CENTER);
    for (int i = 0; i < ticks.count; i++) {
      float x = (float) (left + (ticks.at(i) - low) / (high - low) * (right - left));
      canvas.drawLine(x, top, x, bottom, grid);
      canvas.drawText(ticks.label(i, locale()), x, bottom - text.ascent() + dp(3), text);
    }
    boolean fits = text.measureText(title) <= right - left;
    canvas.drawText(
        fits ? title : title.split(" ", 2)[0],
        (left + right) / 2,
        bottom - text.ascent() + dp(3) + lineHeight(),
        text);
    text.setTextAlign(Paint.Align.LEFT);
  }

  /** Height that {@link #drawHorizontalAxis} takes below its axis. */
  protected final float horizontalAxisHeight() {
    return 2 * lineHeight() + dp(4);
  }
}
