package org.dgms.demo;

import android.content.Context;
import android.text.SpannableStringBuilder;
import android.text.Spanned;
import android.text.style.ForegroundColorSpan;
import android.text.style.RelativeSizeSpan;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.dgms.demo.bench.ModelSpec;

/** A model in the words of the picker: its title, and below it what is known about it. */
final class ModelText {
  private ModelText() {}

  /** Two lines: title; kind of activations, size, accuracy, origin. */
  static CharSequence row(Context context, ModelLibrary.Entry entry) {
    return titled(context, entry.model.title(), details(context, entry));
  }

  /** A first line in the text's own size and a smaller, quieter one. */
  static CharSequence titled(Context context, String title, String note) {
    SpannableStringBuilder text = new SpannableStringBuilder(title).append('\n');
    int begin = text.length();
    text.append(note);
    text.setSpan(
        new ForegroundColorSpan(context.getColor(R.color.text_secondary)),
        begin,
        text.length(),
        Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
    text.setSpan(
        new RelativeSizeSpan(0.87f), begin, text.length(), Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
    return text;
  }

  private static String details(Context context, ModelLibrary.Entry entry) {
    Locale locale = context.getResources().getConfiguration().getLocales().get(0);
    ModelSpec model = entry.model;
    List<String> parts = new ArrayList<String>();
    if (model.activations() != null) {
      parts.add(model.activations());
    }
    parts.add(Formats.bytes(model.file().length(), locale));
    if (model.top1() != null) {
      parts.add(context.getString(R.string.model_top1, Formats.percent(model.top1(), locale)));
    }
    if (entry.source == ModelLibrary.Source.PUSHED) {
      parts.add(context.getString(R.string.model_pushed));
    } else if (entry.source == ModelLibrary.Source.OPENED) {
      parts.add(context.getString(R.string.model_opened));
    }
    if (model.denseFile() == null) {
      parts.add(context.getString(R.string.model_no_dense));
    }
    return android.text.TextUtils.join(" · ", parts);
  }
}
