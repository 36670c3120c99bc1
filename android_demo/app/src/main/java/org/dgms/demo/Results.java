package org.dgms.demo;

import android.content.ClipData;
import android.content.Context;
import android.content.Intent;
import android.net.Uri;
import java.io.File;
import org.dgms.demo.bench.ResultStore;

/** Where results are, and how they leave the app. */
final class Results {
  private Results() {}

  /**
   * The app's results: in its external files, where adb can fetch them; inside where the external
   * storage is missing.
   */
  static ResultStore store(Context context) {
    File external = context.getExternalFilesDir("results");
    return new ResultStore(
        external != null ? external : new File(context.getFilesDir(), "results"));
  }

  /** Lets the reader send a result to another app. */
  static void share(Context context, File file, boolean csv) {
    Uri uri = csv ? ResultsProvider.csv(file) : ResultsProvider.json(file);
    Intent send =
        new Intent(Intent.ACTION_SEND)
            .setType(csv ? ResultsProvider.CSV_TYPE : ResultsProvider.JSON_TYPE)
            .putExtra(Intent.EXTRA_STREAM, uri)
            .putExtra(Intent.EXTRA_SUBJECT, uri.getLastPathSegment())
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
    send.setClipData(ClipData.newUri(context.getContentResolver(), uri.getLastPathSegment(), uri));
    context.startActivity(
        Intent.createChooser(
            send, context.getString(csv ? R.string.share_csv : R.string.share_json)));
  }
}
