package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.graphics.Path;
import org.dgms.demo.bench.PathKind;

/**
 * How a path looks everywhere: its name, its colour and, so that colour is never all there is, its
 * marker.
 */
final class PathStyle {
  private PathStyle() {}

  /** The path's name in a chart, a table or a sentence. */
  static String name(Context context, PathKind kind) {
    switch (kind) {
      case DELEGATE:
        return context.getString(R.string.path_delegate);
      case DENSE_XNNPACK:
        return context.getString(R.string.path_dense_xnnpack);
      case XNNPACK:
        return context.getString(R.string.path_xnnpack);
      default:
        return context.getString(R.string.path_builtin);
    }
  }

  /** The path as the object of a sentence: "XNNPACK with dense weights". */
  static String inSentence(Context context, PathKind kind) {
    return kind == PathKind.DENSE_XNNPACK
        ? context.getString(R.string.path_dense_xnnpack_sentence)
        : name(context, kind);
  }

  /** One sentence on what the path is. */
  static String explanation(Context context, PathKind kind) {
    switch (kind) {
      case DELEGATE:
        return context.getString(R.string.path_delegate_explanation);
      case DENSE_XNNPACK:
        return context.getString(R.string.path_dense_xnnpack_explanation);
      case XNNPACK:
        return context.getString(R.string.path_xnnpack_explanation);
      default:
        return context.getString(R.string.path_builtin_explanation);
    }
  }

  /** The path's colour in the current theme. */
  static int color(Context context, PathKind kind) {
    switch (kind) {
      case DELEGATE:
        return context.getColor(R.color.path_delegate);
      case DENSE_XNNPACK:
        return context.getColor(R.color.path_dense_xnnpack);
      case XNNPACK:
        return context.getColor(R.color.path_xnnpack);
      default:
        return context.getColor(R.color.path_builtin);
    }
  }

  /**
   * Draws the path's marker: disc, square, triangle or diamond.
   *
   * @param radius half the marker's size, in pixels
   */
  static void drawMarker(Canvas canvas, PathKind kind, float x, float y, float radius, Paint fill) {
    switch (kind) {
      case DELEGATE:
        canvas.drawCircle(x, y, radius, fill);
        break;
      case DENSE_XNNPACK:
        canvas.drawRect(
            x - 0.85f * radius, y - 0.85f * radius, x + 0.85f * radius, y + 0.85f * radius, fill);
        break;
      case XNNPACK:
        canvas.drawPath(
            polygon(x, y - radius, x + radius, y + 0.8f * radius, x - radius, y + 0.8f * radius),
            fill);
        break;
      default:
        canvas.drawPath(
            polygon(x, y - 1.2f * radius, x + radius, y, x, y + 1.2f * radius, x - radius, y),
            fill);
        break;
    }
  }

  private static Path polygon(float... points) {
    Path path = new Path();
    path.moveTo(points[0], points[1]);
    for (int i = 2; i < points.length; i += 2) {
      path.lineTo(points[i], points[i + 1]);
    }
    path.close();
    return path;
  }
}
