{{- define "framemill.labels" -}}
app.kubernetes.io/name: framemill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "framemill.image" -}}
image: {{ printf "%s/%s:%s" .root.Values.image.registry .image (default .root.Chart.AppVersion .root.Values.image.tag) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{- /* Settings of every process: those of values.yaml, then those of the Secret. */ -}}
{{- define "framemill.settings" -}}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}-settings}
  - secretRef: {name: {{ .Values.secret }}}
{{- end }}

{{- define "framemill.pod" -}}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "framemill.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* Changed settings or models restart the pods. */ -}}
{{- define "framemill.checksum" -}}
checksum/settings: {{ toJson (list .Values.settings .Values.models) | sha256sum }}
{{- end }}

{{- define "framemill.mounts" -}}
- {name: data, mountPath: /var/lib/framemill}
- {name: tmp, mountPath: /tmp}
- {name: models, mountPath: /models}
{{- if .Values.models.file }}
- {name: models-file, mountPath: /etc/framemill}
{{- end }}
{{- end }}

{{- define "framemill.volumes" -}}
- name: tmp
  emptyDir: {}
- name: models
  {{- if .Values.models.claim }}
  persistentVolumeClaim: {claimName: {{ .Values.models.claim }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- if .Values.models.file }}
- name: models-file
  configMap: {name: {{ .Release.Name }}-models}
{{- end }}
{{- end }}
